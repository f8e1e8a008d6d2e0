"""HARD_SWISH: output = x * min(max(x + 3, 0), 6) / 6.

Shapes: input and output have as many elements.
Quantization: int8 in 16-bit fixed point; float32. Multipliers come from doubles (the source read
here takes float32 steps, the pinned wheel does not); the input's scale over 128 must not be above
the output's.
Source: `tensorflow/lite/micro/kernels/hard_swish{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/hard_swish.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import INT32_MAX, clamp
from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types and shapes, derive the multipliers."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    require_same_type(ctx, x, output, malformed=True)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, _hard_swish)
    require_scale(ctx, "output", output)
    fine_scale = x.scale / 128
    multiplier, exponent = multiplier_pair(ctx, fine_scale / output.scale)
    ctx.require(
        exponent <= 0,
        "the input's scale must be below 128 output scales",
        fine_scale / output.scale,
    )
    relu_multiplier, relu_exponent = multiplier_pair(ctx, fine_scale / (3 / 32768))
    require_zero_points(ctx, x, output)
    arguments = (
        x.zero_point,
        _to_int16(multiplier),
        exponent,
        _to_int16(relu_multiplier),
        relu_exponent,
        output.zero_point,
    )
    return Lookup.of_kernel(x, output, _hard_swish_int8, arguments)


def _to_int16(multiplier: int) -> int:
    """`DownScaleInt32ToInt16Multiplier`: the upper half, rounded, saturated."""
    return 32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _hard_swish(x: np.ndarray) -> np.ndarray:
    zero, three, six = np.float32([0, 3, 6])
    gate = x + three
    gate = np.where(zero < gate, gate, zero)
    return x * np.where(gate < six, gate, six) / six


@jit
def _saturating_shift(x, amount):
    return clamp(x << amount, -32768, 32767)


@jit
def _rounding_high_mul(a, b):
    """gemmlowp's `SaturatingRoundingDoublingHighMul` of int16."""
    if a == -32768 and b == -32768:
        return 32767
    product = a * b
    if product >= 0:
        return (product + 16384) >> 15
    return -((-product + 16383) >> 15)


@jit
def _truncating_high_mul(a, b):
    if a == -32768 and b == -32768:
        return 32767
    product = a * b
    return product >> 15 if product >= 0 else -(-product >> 15)


@jit
def _shift_right(x, exponent):
    """gemmlowp's `RoundingDivideByPOT` of int16; from 16 bits on its mask is all ones."""
    mask = (1 << exponent) - 1 if exponent < 16 else -1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


@jit
def _hard_swish_int8(
    x, zero_point, multiplier, exponent, relu_multiplier, relu_exponent, zero, out
):
    for i in range(out.size):
        fine = (np.int64(x[i]) - zero_point) << 7
        value = _rounding_high_mul(fine, multiplier)
        gate = fine
        if relu_exponent > 0:
            gate = _saturating_shift(gate, relu_exponent - 1)
        gate = _rounding_high_mul(gate, relu_multiplier)
        if relu_exponent > 0:
            gate = _saturating_shift(gate, 1)
        if relu_exponent < 0:
            gate = _shift_right(gate, -relu_exponent)
        gate = (gate + 32768) >> 1
        value = _shift_right(_truncating_high_mul(gate, value), -exponent)
        out[i] = clamp(value + zero, -128, 127)


OP = OpSpec("HARD_SWISH", prepare, evaluate_single, OpData(lp64=20, ilp32=20))
