"""What EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER and GREATER_EQUAL share.

int8 values are shifted left by 8 bits and brought to a common scale of 1 before they are compared,
so values that differ by less than that precision are equal.
Source: `tensorflow/lite/micro/kernels/comparisons.cc`,
`tensorflow/lite/kernels/internal/reference/comparisons.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import multiply_below_one
from refmicro.ops._elementwise import (
    Broadcast,
    Pairwise,
    Shapes,
    multiplier_below_one,
    require_same_type,
    require_zero_points,
)
from refmicro.ops._spec import OpData, PrepareContext
from refmicro.types import DType, Tensor

OP_DATA = OpData(lp64=32, ilp32=32)

ORDERED_TYPES = (DType.FLOAT32, DType.INT32, DType.INT64, DType.INT8)
EQUALITY_TYPES = (DType.BOOL, *ORDERED_TYPES)

LESS, EQUAL, GREATER = 1, 2, 4
"""Outcomes; a relation is the sum of those for which it holds."""

_FUNCTIONS = {
    LESS: np.less,
    EQUAL: np.equal,
    GREATER: np.greater,
    LESS | EQUAL: np.less_equal,
    GREATER | EQUAL: np.greater_equal,
    LESS | GREATER: np.not_equal,
}


def prepare_comparison(
    ctx: PrepareContext, relation: int, types: tuple[DType, ...]
) -> Pairwise | Broadcast:
    """Check types and shapes, derive multipliers of int8 inputs."""
    a, b = ctx.input(0), ctx.input(1)
    ctx.require_shape(len(ctx.node.outputs) > 0, "must have an output", "none")
    output = ctx.node.outputs[0]
    ctx.require_type("input", a, *types)
    require_same_type(ctx, a, b, malformed=True)
    ctx.require_shape(output.dtype is DType.BOOL, "the output must be bool", output.dtype)
    shapes = Shapes.of(ctx, a, b, output)
    if a.dtype is not DType.INT8:
        return Broadcast(shapes, _FUNCTIONS[relation])
    require_zero_points(ctx, a, b)
    arguments = (*_scaling(ctx, a), *_scaling(ctx, b), relation)
    return Pairwise(shapes, _compare, arguments, output.dtype.numpy)


def _scaling(ctx: PrepareContext, x: Tensor) -> tuple[int, int, int]:
    return (-x.zero_point, *multiplier_below_one(ctx, "the scale of an int8 input", x.scale))


@jit
def _compare(a, b, a_offset, a_factor, a_shift, b_offset, b_factor, b_shift, relation, out):
    for i in range(out.size):
        left = (np.int64(a[i]) + a_offset) << 8
        right = (np.int64(b[i]) + b_offset) << 8
        left = multiply_below_one(left, a_factor, a_shift)
        right = multiply_below_one(right, b_factor, b_shift)
        outcome = 1 if left < right else (2 if left == right else 4)
        out[i] = (relation & outcome) != 0
