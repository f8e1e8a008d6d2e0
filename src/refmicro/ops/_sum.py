"""Quantized sums: ADD and SUB of two inputs, ADD_N and CUMSUM of many.

Inputs are shifted left, brought to twice the larger input scale, added as int32, and the sum is
brought to the output's scale.
Source: `AddFunc` in `tensorflow/lite/kernels/internal/reference/integer_ops/add.h`,
`SubElementwise` in `tensorflow/lite/kernels/internal/reference/sub.h`, `add_n.h` and `cumsum.h`
beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_below_one
from refmicro.ops._activation import quantized_range
from refmicro.ops._elementwise import multiplier_below_one, require_scale, require_zero_points
from refmicro.ops._pair_formula import Formula, real_factor, weighted_sum
from refmicro.ops._spec import PrepareContext
from refmicro.types import DType, Tensor


def left_shift_of(output: Tensor) -> int:
    """Bits that inputs are shifted by; the sum then still fits int32."""
    return 15 if output.dtype is DType.INT16 else 20


def sum_arguments(
    ctx: PrepareContext,
    inputs: tuple[Tensor, Tensor],
    output: Tensor,
    reals: tuple[float, float, float],
    sign: int,
) -> tuple[int, ...]:
    """Arguments of `quantized_sum` from the multipliers of both inputs and of the output."""
    a, b = inputs
    names = ("input 0's share of the scales", "input 1's share of the scales", "the output's ratio")
    pairs = [multiplier_below_one(ctx, name, r) for name, r in zip(names, reals, strict=True)]
    low, high = quantized_range(ctx.options.get("fused_activation_function", 0), output)
    require_zero_points(ctx, a, b, output)
    return (
        left_shift_of(output),
        -a.zero_point,
        -b.zero_point,
        *(value for pair in pairs for value in pair),
        sign,
        output.zero_point,
        low,
        high,
    )


def sum_formula(arguments: tuple[int, ...]) -> Formula:
    """The real numbers behind arguments of `quantized_sum`."""
    left_shift, *offsets = arguments[:3]
    pairs = (arguments[3:5], arguments[5:7], arguments[7:9])
    a, b, output = (real_factor(*pair) for pair in pairs)
    sign, *rest = arguments[9:]
    scale = math.ldexp(output, left_shift)
    return Formula(
        weighted_sum, tuple(offsets), (a * scale, sign * b * scale), 2.0 ** -(left_shift - 1), *rest
    )


@jit
def quantized_sum(
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
    sign,
    output_offset,
    low,
    high,
    out,
):
    """a + sign * b, requantized."""
    # The compiler sees 32 bits times 32: fewer instructions than 64 times 64.
    a_multiplier, b_multiplier = np.int64(np.int32(a_multiplier)), np.int64(np.int32(b_multiplier))
    multiplier = np.int64(np.int32(multiplier))
    # -1 where the sign is negative, else 0: what a product with the sign would do.
    flip = sign >> 1
    for i in range(out.size):
        left = np.int64(np.int32((np.int64(a[i]) + a_offset) << left_shift))
        right = np.int64(np.int32((np.int64(b[i]) + b_offset) << left_shift))
        left = multiply_below_one(left, a_multiplier, a_shift)
        right = multiply_below_one(right, b_multiplier, b_shift)
        total = np.int64(np.int32(left + ((right ^ flip) - flip)))
        value = multiply_below_one(total, multiplier, shift)
        out[i] = clamp(value + output_offset, low, high)


@dataclass(frozen=True, eq=False)
class ManySum:
    """Sums of int8 values of one scale, kept in int32 that wraps.

    Half of the left shift is undone by the share of one half that every input has in twice its
    scale: that product is exact, so a value v is (v - zero point) * 2^19 here. TFLM starts every
    sum with -zero point instead of 0.
    """

    input_offset: int
    multiplier: int
    shift: int
    output_offset: int

    @staticmethod
    def of(ctx: PrepareContext, x: Tensor, output: Tensor) -> ManySum:
        """Check scales and zero points, derive the output's multiplier."""
        require_scale(ctx, "input", x)
        require_scale(ctx, "output", output)
        require_zero_points(ctx, x, output)
        real = 2 * x.scale / ((1 << 20) * output.scale)
        pair = multiplier_below_one(ctx, "the output's ratio", real)
        return ManySum(-x.zero_point, *pair, output.zero_point)

    @property
    def start(self) -> int:
        """What every sum starts with."""
        return self.input_offset << 19

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Values as they are added, int32."""
        return (x.astype(np.int32) + self.input_offset) << 19

    def outputs(self, sums: np.ndarray) -> np.ndarray:
        """int8 outputs of int32 sums, same shape."""
        out = np.empty(sums.shape, np.int8)
        flat = np.ascontiguousarray(sums).reshape(-1)
        _rescale(flat, self.multiplier, self.shift, self.output_offset, out.reshape(-1))
        return out


@jit
def _rescale(sums, multiplier, shift, output_offset, out):
    for i in range(out.size):
        value = multiply_below_one(np.int64(sums[i]), multiplier, shift)
        out[i] = clamp(value + output_offset, -128, 127)
