"""SQUARED_DIFFERENCE: output = (a - b)^2.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: int8; int16 with zero points 0; both inputs are rescaled to twice the larger scale;
int32, which wraps, and float32 without scaling. Multipliers come from doubles.
Source: `tensorflow/lite/micro/kernels/squared_difference.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import (
    clamp,
    multiply_below_one,
    multiply_by_quantized_multiplier,
)
from refmicro.ops._elementwise import (
    Broadcast,
    Pairwise,
    Shapes,
    evaluate_pair,
    multiplier_below_one,
    require_counts,
    require_same_type,
    require_scale,
)
from refmicro.ops._fixed_functions import wrap_int32
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType, Tensor


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast:
    """Check types and shapes, derive the multipliers."""
    require_counts(ctx, 2)
    a, b, output = ctx.input(0), ctx.input(1), ctx.output(0)
    require_same_type(ctx, a, b)
    ctx.require_type("input", a, DType.FLOAT32, DType.INT32, DType.INT8, DType.INT16)
    require_same_type(ctx, a, output, malformed=True)
    shapes = Shapes.of(ctx, a, b, output)
    if a.dtype in (DType.FLOAT32, DType.INT32):
        return Broadcast(shapes, _squared_difference)
    low, high = INTEGER_LIMITS[a.dtype] if a.dtype is DType.INT8 else (0, 0)
    for tensor in (a, b, output):
        ctx.require(
            low <= tensor.zero_point <= high,
            f"a zero point of {a.dtype} must be in {low}..{high}",
            tensor.zero_point,
        )
    return Pairwise(shapes, _squared, _arguments(ctx, a, b, output), output.dtype.numpy)


def _arguments(ctx: PrepareContext, a: Tensor, b: Tensor, output: Tensor) -> tuple[int, ...]:
    require_scale(ctx, "output", output)
    twice = 2 * max(a.scale, b.scale)
    ctx.require_shape(twice > 0, "an input must have a scale above 0", twice)
    left_shift = 7 if a.dtype is DType.INT8 else 0
    return (
        left_shift,
        -a.zero_point,
        -b.zero_point,
        *multiplier_below_one(ctx, "input 0's share of the scales", a.scale / twice),
        *multiplier_below_one(ctx, "input 1's share of the scales", b.scale / twice),
        *multiplier_pair(ctx, twice * twice / ((1 << 2 * left_shift) * output.scale)),
        output.zero_point,
        *INTEGER_LIMITS[output.dtype],
    )


def _squared_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = a - b
    return difference * difference


@jit
def _squared(
    a,
    b,
    left_shift,
    a_offset,
    b_offset,
    a_multiplier,
    a_shift,
    b_multiplier,
    b_shift,
    multiplier,
    shift,
    output_offset,
    low,
    high,
    out,
):
    for i in range(out.size):
        left = (np.int64(a[i]) + a_offset) << left_shift
        right = (np.int64(b[i]) + b_offset) << left_shift
        left = multiply_below_one(left, a_multiplier, a_shift)
        right = multiply_below_one(right, b_multiplier, b_shift)
        square = wrap_int32((left - right) * (left - right))
        value = multiply_by_quantized_multiplier(square, multiplier, shift)
        out[i] = clamp(value + output_offset, low, high)


OP = OpSpec("SQUARED_DIFFERENCE", prepare, evaluate_pair, OpData(lp64=112, ilp32=112))
