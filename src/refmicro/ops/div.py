"""DIV: output = act(a / b); int8: by a fixed-point reciprocal of b - zb.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: int8; int32 not quantized, rounded towards 0; float32. The multiplier comes from
doubles (the source read here takes float32 steps, the pinned wheel does not).
Differs: a division of int32 by 0 or of -2^31 by -1 ends TFLM's program; here the invocation fails
with a sentence. An int8 division by 0, or one whose result is shifted by more than 31 bits, is
undefined in C++ and done here as x86 does it.
Source: `tensorflow/lite/micro/kernels/div.cc`,
`tensorflow/lite/kernels/internal/reference/div.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UnsupportedError
from refmicro.fixedpoint import (
    INT32_MIN,
    clamp,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from refmicro.ops._activation import float_range, quantized_range
from refmicro.ops._elementwise import (
    Broadcast,
    Pairwise,
    Shapes,
    evaluate_pair,
    int32_range,
    require_not_quantized,
    require_same_type,
    require_zero_points,
)
from refmicro.ops._fixed_functions import get_reciprocal, leading_sign_bits, wrap_int32
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import BindContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import INTEGER_LIMITS, DType, Tensor


@dataclass(frozen=True)
class Quotients:
    """C's division of int32, and what its results are clamped to, if anything."""

    shapes: Shapes
    limits: tuple[int, int] | None

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Results of shape (B, *output)."""
        out = np.empty((max(len(a), len(b)), *self.shapes.output), np.int32)
        a, b = self.shapes.flat(a, b)
        _divide_into(a, b, self.limits or INTEGER_LIMITS[DType.INT32], out.reshape(-1))
        return out

    def bind(self, ctx: BindContext) -> list[Step] | None:
        """One call, where nothing is broadcast but a single divisor."""
        a, b, out = (array.reshape(-1) for array in (ctx.input(0), ctx.input(1), ctx.output(0)))
        if a.size != out.size or b.size not in (1, out.size):
            return None
        return [(_divide_into, (a, b, self.limits or INTEGER_LIMITS[DType.INT32], out))]


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast | Quotients:
    """Check types and shapes, derive the multiplier."""
    a, b, output = ctx.input(0), ctx.input(1), ctx.output(0)
    require_same_type(ctx, a, b, output)
    ctx.require_type("output", output, DType.FLOAT32, DType.INT32, DType.INT8)
    shapes = Shapes.of(ctx, a, b, output)
    activation = ctx.options.get("fused_activation_function", 0)
    if output.dtype is DType.FLOAT32:
        return Broadcast(shapes, np.divide, float_range(activation))
    if output.dtype is DType.INT32:
        require_not_quantized(ctx, a, b)
        return Quotients(shapes, int32_range(activation))
    return Pairwise(shapes, _divide, _arguments(ctx, a, b, output, activation), np.dtype(np.int8))


def _arguments(
    ctx: PrepareContext, a: Tensor, b: Tensor, output: Tensor, activation: int
) -> tuple[int, ...]:
    low, high = quantized_range(activation, output)
    product = b.scale * output.scale
    ctx.require_shape(product > 0, "input 1 and output must have scales above 0", product)
    multiplier, shift = multiplier_pair(ctx, a.scale / product)
    ctx.require_shape(shift <= 22, "the ratio of scales must be below 2^22", a.scale / product)
    require_zero_points(ctx, a, b, output)
    return (-a.zero_point, -b.zero_point, multiplier, shift, output.zero_point, low, high)


def _divide_into(a: np.ndarray, b: np.ndarray, limits: tuple[int, int], out: np.ndarray) -> None:
    """C's integer division.

    Raises:
        UnsupportedError: where the processor ends the program.
    """
    if not _quotients.ready(a, b, *limits, out):
        raise UnsupportedError(
            "DIV: an int32 divisor must not be 0, nor -1 under -2147483648",
            hint="such a division ends TFLM's program",
        )


@jit
def _quotients(a, b, low, high, out):
    """Returns whether all divisions are defined; one divisor may stand for all."""
    step = 1 if b.size > 1 else 0
    bad = 0
    for i in range(out.size):
        divisor = b[i * step]
        bad |= (divisor == 0) | ((divisor == -1) & (a[i] == INT32_MIN))
    if bad:
        return False
    for i in range(out.size):
        # A double rounds the quotient by |a / b| / 2^53 at most; one that is no integer is 1 / |b|
        # away from the next.
        value = np.int64(np.float64(a[i]) / np.float64(b[i * step]))
        out[i] = np.int32(min(max(value, low), high))
    return True


@jit
def _shift_right(x, exponent):
    """`RoundingDivideByPOT` with what x86 makes of exponents above 31."""
    if exponent <= 31:
        return rounding_divide_by_pot(x, exponent)
    return (x >> (exponent & 31)) + (1 if x >= 0 else 0)


@jit
def _divide(a, b, a_offset, b_offset, multiplier, shift, output_offset, low, high, out):
    for i in range(out.size):
        left, right = np.int64(a[i]) + a_offset, np.int64(b[i]) + b_offset
        if right < 0:
            left, right = -left, -right
        inverse, inverse_shift = get_reciprocal(right, 31)
        headroom = leading_sign_bits(left)
        value = saturating_rounding_doubling_high_mul(wrap_int32(left << headroom), inverse)
        value = saturating_rounding_doubling_high_mul(value, multiplier)
        value = _shift_right(value, inverse_shift + headroom - shift)
        out[i] = clamp(wrap_int32(value + output_offset), low, high)


OP = OpSpec("DIV", prepare, evaluate_pair, OpData(lp64=28, ilp32=28), params="TfLiteDivParams")
