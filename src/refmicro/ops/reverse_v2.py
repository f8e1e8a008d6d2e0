"""REVERSE_V2: the input with the order of values turned around along some axes.

Shapes: input of at most 6 dimensions; `axis` is a vector of int32, no longer than that, negative
from the end; the axes must be neighbours, each given once. They may be computed.
Quantization: float32, int8, uint8, int16, int32, int64 and bool; bytes are copied.
Differs: an empty `axis`, or an output of another size, is refused; TFLM would read outside them.
Source: `tensorflow/lite/micro/kernels/reverse.cc`,
`tensorflow/lite/kernels/internal/reference/reverse.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._movement import distinct_rows
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType

_MAX_RANK = 6

_TYPES = (
    DType.INT32,
    DType.FLOAT32,
    DType.UINT8,
    DType.INT8,
    DType.INT16,
    DType.INT64,
    DType.BOOL,
)


@dataclass(frozen=True)
class Reverse:
    """`axes` of one vector, None where the graph computes them."""

    shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    axes: tuple[int, ...] | None


def prepare(ctx: PrepareContext) -> Reverse:
    """Resolve constant axes."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, axis, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require(len(axis.shape) == 1, "axis must be a vector", list(axis.shape))
    rank = len(x.shape)
    ctx.require(rank <= _MAX_RANK, f"input must have at most {_MAX_RANK} dimensions", rank)
    ctx.require(axis.elements <= rank, f"axis must name at most {rank}", axis.elements)
    ctx.require_type("input", x, *_TYPES)
    ctx.require_type("axis", axis, DType.INT32)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_shape(axis.elements > 0, "axis must name an axis", "none")
    ctx.require_shape(
        x.elements == output.elements, f"output must hold {x.elements} values", output.elements
    )
    if not axis.is_constant:
        return Reverse(x.shape, output.shape, None)
    axes = _neighbours(axis.array().tolist(), rank)
    ctx.require(
        axes is not None,
        f"axis must name neighbouring axes of {rank} dimensions",
        axis.array().tolist(),
    )
    return Reverse(x.shape, output.shape, axes)


def _neighbours(given: list[int], rank: int) -> tuple[int, ...] | None:
    """The axes in order, None where TFLM refuses them."""
    axes = sorted(axis + rank if axis < 0 else axis for axis in given)
    inside = axes[0] >= 0 and axes[-1] < rank
    return tuple(axes) if inside and axes == list(range(axes[0], axes[-1] + 1)) else None


def evaluate(ctx: EvalContext, data: Reverse) -> None:
    """Copy backward; rows with different axes one group after the other."""
    x = ctx.input(0)
    if data.axes is not None:
        out = np.ascontiguousarray(np.flip(x, tuple(axis + 1 for axis in data.axes)))
    else:
        x = np.broadcast_to(x, (ctx.batch, *data.shape))
        out = np.empty_like(x)
        for given, rows in distinct_rows(ctx.batch, [ctx.input(1)]):
            axes = _neighbours(list(given), len(data.shape))
            if axes is None:
                raise UsageError(
                    "REVERSE_V2 must get neighbouring axes of "
                    f"{len(data.shape)} dimensions: {list(given)}",
                    hint="TFLM returns an error from Invoke",
                )
            out[rows] = np.flip(x[rows], tuple(axis + 1 for axis in axes))
    ctx.set_output(0, out.reshape(out.shape[0], *data.output_shape))


OP = OpSpec("REVERSE_V2", prepare, evaluate)
