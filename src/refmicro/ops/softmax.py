"""SOFTMAX over the last dimension: output = e^(beta * (x - max)) / sum of these.

Shapes: input and output of one rank, one at least, with the same last dimension and as many
elements.
Quantization: int8 to int8 (zero point -128, scale 1/256) or to int16 (zero point -32768, scale
2^-16), both in 32-bit fixed point; int16 to int16 (zero points 0, scale 2^-15) by two tables;
float32, sums taken in order.
Persistent: int16 keeps two tables of 513 values, 1026 bytes each.
Differs: an int8 row whose exponentials sum to 512 or more ends TFLM's program when the output is
int8; here the invocation fails with a sentence, as it does for an int16 output from 8192 on.
Source: `tensorflow/lite/micro/kernels/softmax{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/softmax.h`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UnsupportedError
from refmicro.fixedpoint import (
    clamp,
    f32,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from refmicro.ops._elementwise import (
    MAX_RANK,
    require_counts,
    require_rank,
    require_same_depth,
    require_same_type,
)
from refmicro.ops._fixed_functions import (
    calculate_input_radius,
    exp_on_negative_values,
    get_reciprocal,
    leading_zeros,
)
from refmicro.ops._libm import expf
from refmicro.ops._lut import lut_int16, lut_lookup
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import (
    BindContext,
    EvalContext,
    OpData,
    OpSpec,
    PrepareContext,
    Step,
    run_steps,
)
from refmicro.types import DType, Tensor

_DIFFERENCE_BITS = 5
"""Integer bits of a scaled difference to the row's maximum."""

_LUT_BYTES = 2 * 513


@dataclass(frozen=True)
class Softmax:
    """What eval needs; `smallest` is the smallest difference that counts, for int8."""

    input: DType
    output: Tensor
    depth: int
    beta: float
    multiplier: int = 0
    shift: int = 0
    smallest: int = 0

    @cached_property
    def exponentials(self) -> np.ndarray:
        """e^(beta * difference) of int8 differences 0, -1, ... -255, no integer bits; -1 where a
        difference does not count."""
        table = np.full(256, -1, np.int64)
        _fill_exponentials(self.multiplier, self.shift, self.smallest, table)
        return table


def prepare(ctx: PrepareContext) -> Softmax:
    """Check types, scales and zero points, derive the multiplier of differences."""
    require_counts(ctx, 1)
    x = ctx.input(0)
    ctx.require(len(x.shape) >= 1, "the input must have at least 1 dimension", x.shape)
    output = ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    if x.dtype is DType.INT16:
        ctx.persistent(_LUT_BYTES)
        ctx.persistent(_LUT_BYTES)
    if x.dtype is not DType.INT8 or output.dtype is not DType.INT16:
        require_same_type(ctx, x, output)
    require_rank(ctx, MAX_RANK, x, output)
    require_same_depth(ctx, x, output)
    beta = f32(ctx.options.get("beta", 0.0))
    common = (x.dtype, output, x.shape[-1], beta)
    if x.dtype is DType.FLOAT32:
        return Softmax(*common)
    if x.dtype is DType.INT16:
        _require_output(ctx, output, 0, 2.0**-15)
        ctx.require(x.zero_point == 0, "an int16 zero point must be 0", x.zero_point)
        ctx.require_shape(x.shape[-1] <= 65536, "rows must hold at most 65536 values", x.shape[-1])
        return Softmax(*common, *multiplier_pair(ctx, x.scale * beta / (10.0 / 65535.0)))
    if output.dtype is DType.INT16:
        _require_output(ctx, output, -32768, 2.0**-16)
    else:
        _require_output(ctx, output, -128, 2.0**-8)
    real = min(beta * x.scale * (1 << (31 - _DIFFERENCE_BITS)), (1 << 31) - 1.0)
    ctx.require(
        real > 1.0 and math.isfinite(real), "beta * scale must be above 2^-26", beta * x.scale
    )
    multiplier, shift = quantize_multiplier(real)
    return Softmax(*common, multiplier, shift, -calculate_input_radius(_DIFFERENCE_BITS, shift))


def _require_output(ctx: PrepareContext, output: Tensor, zero_point: int, scale: float) -> None:
    ctx.require(
        output.zero_point == zero_point,
        f"the output's zero point must be {zero_point}",
        output.zero_point,
    )
    tolerance = 0.0 if output.dtype is DType.INT8 else f32(f32(f32(0.001) * 1.0) * scale)
    ctx.require(
        abs(f32(output.scale - scale)) <= tolerance,
        f"the output's scale must be {scale}",
        output.scale,
    )


def evaluate(ctx: EvalContext, data: Softmax) -> None:
    """All rows at once.

    Raises:
        UnsupportedError: for an int8 row that ends TFLM's program.
    """
    x = ctx.input(0)
    rows = np.ascontiguousarray(x).reshape(-1, data.depth)
    if data.input is DType.FLOAT32:
        out = _evaluate_float(rows, np.float32(data.beta))
    else:
        out = np.empty(rows.shape, data.output.dtype.numpy)
        run_steps([_step(data, rows, out)])
    ctx.set_output(0, out.reshape(x.shape[0], *data.output.shape))


def bind(ctx: BindContext, data: Softmax) -> list[Step] | None:
    """One call for all rows."""
    x, out = ctx.input(0), ctx.output(0)
    if data.input is DType.FLOAT32 or x.size != out.size:
        return None
    return [_step(data, x.reshape(-1, data.depth), out.reshape(-1, data.depth))]


def _step(data: Softmax, rows: np.ndarray, out: np.ndarray) -> Step:
    if data.input is DType.INT16:
        return _softmax_int16.ready, (rows, data.multiplier, data.shift, *_luts(), out)
    return _softmax_or_refuse, (rows, data.exponentials, 8 * out.itemsize, out)


def _softmax_or_refuse(
    rows: np.ndarray, exponentials: np.ndarray, output_bits: int, out: np.ndarray
) -> None:
    if not _softmax_int8(rows, exponentials, output_bits, out):
        raise UnsupportedError(
            "SOFTMAX: the exponentials of an int8 row must sum to less than "
            f"{512 if output_bits == 8 else 8192}",
            hint="TFLM ends the program on such a row; use int16 for input and output",
        )


def _evaluate_float(rows: np.ndarray, beta: np.float32) -> np.ndarray:
    with np.errstate(all="ignore"):
        lowest = np.finfo(np.float32).min
        largest = np.fmax.reduce(rows, axis=1, keepdims=True, initial=lowest)
        powers = expf((rows - largest) * beta)
        sums = np.add.accumulate(powers, axis=1)[:, -1:]
        return powers / sums


@jit
def _fill_exponentials(multiplier, shift, smallest, table):
    for i in range(table.size):
        if -i >= smallest:
            scaled = multiply_by_quantized_multiplier(-i, multiplier, shift)
            table[i] = exp_on_negative_values(scaled, 5)


@jit
def _softmax_int8(x, exponentials, output_bits, out):
    """Whether every row's sum of exponentials leaves a shift that TFLM accepts."""
    low, high = -(1 << (output_bits - 1)), (1 << (output_bits - 1)) - 1
    for row in range(x.shape[0]):
        largest = np.int64(-128)
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[row, i]))
        total = 0
        for i in range(x.shape[1]):
            power = exponentials[largest - np.int64(x[row, i])]
            if power >= 0:
                total += rounding_divide_by_pot(power, 12)
        if total >= 1 << 32:
            return False
        scale, bits_over_unit = get_reciprocal(total, 12)
        exponent = bits_over_unit + 31 - output_bits
        if exponent > 31:
            return False
        for i in range(x.shape[1]):
            power = exponentials[largest - np.int64(x[row, i])]
            if power >= 0:
                value = saturating_rounding_doubling_high_mul(scale, power)
                out[row, i] = clamp(rounding_divide_by_pot(value, exponent) + low, low, high)
            else:
                out[row, i] = low
    return True


@functools.cache
def _luts() -> tuple[np.ndarray, np.ndarray]:
    """e^x on [-10, 0] and 1 / (1 + x) on [0, 1]."""
    one, steps = np.float32(1), np.float32(65535)
    output = (np.float32(2) / steps, 0)
    return (
        lut_int16((np.float32(10) / steps, 32767), output, expf),
        lut_int16((one / steps, -32768), output, lambda x: one / (one + x)),
    )


@jit
def _softmax_int16(x, multiplier, shift, exp_lut, reciprocal_lut, out):
    for row in range(x.shape[0]):
        largest = np.int64(-32768)
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[row, i]))
        total = 0
        for i in range(x.shape[1]):
            difference = np.int64(x[row, i]) - largest
            scaled = multiply_by_quantized_multiplier(difference, multiplier, shift) + 32767
            power = lut_lookup(clamp(scaled, -32768, 32767), exp_lut)
            out[row, i] = power
            total += power
        headroom = leading_zeros(total) - 1
        reduced = ((total << headroom) + (1 << 13)) >> 14
        reduced = clamp(reduced - ((1 << 15) + (1 << 16)), -32768, 32767)
        reciprocal = lut_lookup(reduced, reciprocal_lut)
        right_shift = 30 - headroom
        for i in range(x.shape[1]):
            product = np.int64(out[row, i]) * reciprocal + (1 << (right_shift - 1))
            out[row, i] = clamp(product >> right_shift, 0, 32767)


OP = OpSpec(
    "SOFTMAX",
    prepare,
    evaluate,
    OpData(lp64=80, ilp32=56, cmsis_nn=64),
    params="TfLiteSoftmaxParams",
    bind=bind,
)
