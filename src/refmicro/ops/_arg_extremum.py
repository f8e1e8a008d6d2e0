"""ARG_MAX and ARG_MIN are one kernel with two comparisons.

Source: `tensorflow/lite/micro/kernels/arg_min_max.cc`,
`tensorflow/lite/kernels/internal/reference/arg_min_max.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops._product import require_type_option
from refmicro.ops._spec import EvalContext, PrepareContext
from refmicro.types import DType, Tensor


@dataclass(frozen=True)
class ArgExtremum:
    """What eval needs: elements in front of, along and behind the axis."""

    output: Tensor
    outer: int
    size: int
    inner: int


def prepare_arg_extremum(ctx: PrepareContext) -> ArgExtremum:
    """TFLM has no Prepare here: it looks at types while it runs, and at shapes not at all."""
    require_type_option(ctx, "output_type")
    inputs, outputs = ctx.node.inputs, ctx.node.outputs
    ctx.require_shape(len(inputs) == 2 and None not in inputs, "must have 2 inputs", len(inputs))
    ctx.require_shape(len(outputs) == 1, "must have 1 output", len(outputs))
    x, axis = inputs
    output = outputs[0]
    ctx.require_type("axis", axis, DType.INT32)
    ctx.require_type("output", output, DType.INT32)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    ctx.require(axis.is_constant, "the axis must be constant", "computed")
    ctx.require_shape(axis.elements > 0, "the axis must have a value", axis.shape)
    ctx.require_shape(x.elements > 0, "the input must hold values", x.shape)
    rank, value = len(x.shape), int(axis.array().reshape(-1)[0])
    ctx.require_shape(-rank <= value < rank, f"the axis must lie in {-rank}..{rank - 1}", value)
    value %= rank
    outer, inner = math.prod(x.shape[:value]), math.prod(x.shape[value + 1 :])
    ctx.require_shape(
        output.elements == outer * inner,
        f"output must have {outer * inner} elements",
        output.elements,
    )
    return ArgExtremum(output, outer, x.shape[value], inner)


def evaluate_arg_extremum(ctx: EvalContext, data: ArgExtremum, *, largest: bool) -> None:
    """The first of equal values; a NaN in first place stays, one elsewhere is never taken."""
    x = ctx.input(0)
    values = np.ascontiguousarray(x).reshape(-1, data.size, data.inner)
    out = np.empty((values.shape[0], data.inner), np.int32)
    (_first_largest if largest else _first_smallest)(values, out)
    ctx.set_output(0, out.reshape(x.shape[0], *data.output.shape))


@jit
def _first_largest(values, out):
    for n in range(values.shape[0]):
        for k in range(values.shape[2]):
            best, where = values[n, 0, k], 0
            for i in range(1, values.shape[1]):
                value = values[n, i, k]
                if value > best:
                    best, where = value, i
            out[n, k] = where


@jit
def _first_smallest(values, out):
    for n in range(values.shape[0]):
        for k in range(values.shape[2]):
            best, where = values[n, 0, k], 0
            for i in range(1, values.shape[1]):
                value = values[n, i, k]
                if value < best:
                    best, where = value, i
            out[n, k] = where
