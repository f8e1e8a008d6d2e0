"""TRANSPOSE: output axis i is input axis perm[i].

Shapes: input of 1 to 5 dimensions, `perm` a constant with an int32 for each; the output's shape is
the input's in the order of `perm`.
Quantization: float32, int8 and int16; bytes are copied. CMSIS-NN takes int8 up to 4 dimensions.
Differs: an output of another shape than `perm` makes, and a `perm` that names an axis twice, are
refused; TFLM does not check them and would read outside the tensor or leave values out.
Source: `tensorflow/lite/micro/kernels/{,cmsis_nn/}transpose.cc`, `transpose_common.cc` there,
`tensorflow/lite/kernels/internal/reference/transpose.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._movement import bind_view, int32_words
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the axes of a whole batch."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, perm, output = ctx.input(0), ctx.input(1), ctx.output(0)
    rank = len(x.shape)
    ctx.require(rank <= 5, "input must have at most 5 dimensions", rank)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require(perm.is_constant, "perm must be constant", "a computed tensor")
    ctx.require(perm.shape == (rank,), f"perm must have shape [{rank}]", list(perm.shape))
    ctx.require_shape(rank > 0, "input must have at least 1 dimension", rank)
    axes = int32_words(ctx, "perm", perm, rank)
    ctx.require(
        all(0 <= axis < rank for axis in axes), f"perm must name axes below {rank}", list(axes)
    )
    ctx.require_shape(len(set(axes)) == rank, "perm must name every axis once", list(axes))
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    ctx.require(
        rank <= 4 or x.dtype is not DType.INT8 or ctx.build.kernels != "cmsis-nn",
        "CMSIS-NN takes int8 inputs of at most 4 dimensions",
        rank,
    )
    shape = tuple(x.shape[axis] for axis in axes)
    ctx.require_shape(
        output.shape == shape, f"output must have shape {list(shape)}", list(output.shape)
    )
    return (0, *(axis + 1 for axis in axes))


def evaluate(ctx: EvalContext, axes: tuple[int, ...]) -> None:
    """Copy in the new order."""
    ctx.set_output(0, np.ascontiguousarray(ctx.input(0).transpose(axes)))


def bind(ctx: BindContext, axes: tuple[int, ...]) -> list[Step]:
    """One copy, none where the order of values stays."""
    view = ctx.input(0).transpose(axes)
    return bind_view(ctx, 0, 0, view, view.shape[1:])


OP = OpSpec("TRANSPOSE", prepare, evaluate, bind=bind)
