"""LOGISTIC: output = 1 / (1 + e^-x).

Shapes: input and output have as many elements.
Quantization: int8 with output zero point -128, in 32-bit fixed point, the output's scale taken as
1/256; int16 with zero points 0 and output scale 2^-15, by a table with interpolation; float32.
Differs: int16 products that overflow int32 wrap as x86 does; input scales that would shift by a
negative count or more than 62 bits are refused.
Source: `tensorflow/lite/micro/kernels/logistic{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}logistic.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier, rounding_divide_by_pot
from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_same_elements,
    require_same_type,
)
from refmicro.ops._fixed_functions import logistic, wrap_int32
from refmicro.ops._libm import expf
from refmicro.ops._sigmoid import int8_arguments, int16_arguments
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types, shapes and zero points, derive the input's multiplier."""
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT16, DType.INT8)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, logistic_float)
    if x.dtype is DType.INT8:
        ctx.require(
            output.zero_point == -128, "the output's zero point must be -128", output.zero_point
        )
        return Lookup.of_kernel(x, output, _logistic_int8, int8_arguments(ctx, x))
    arguments = int16_arguments(ctx, x, output, largest_power=0)
    return Lookup.of_kernel(x, output, logistic_int16, arguments)


def logistic_float(x: np.ndarray) -> np.ndarray:
    """Above and below two cutoffs TFLM takes 1 and e^x."""
    one = np.float32(1)
    y = one / (one + expf(-x))
    y = np.where(x < np.float32(-9), expf(x), y)
    return np.where(x > np.float32(16.619047164916992188), one, y)


@jit
def _logistic_int8(x, zero_point, radius, multiplier, shift, out):
    for i in range(out.size):
        value = np.int64(x[i]) - zero_point
        if value <= -radius:
            out[i] = -128
        elif value >= radius:
            out[i] = 127
        else:
            value = multiply_by_quantized_multiplier(value, multiplier, shift)
            value = rounding_divide_by_pot(logistic(value, 4), 23) - 128
            out[i] = clamp(value, -128, 127)


@jit
def logistic_int16(x, multiplier, shift, table, out):
    """x * multiplier / 2^shift is in 1/(3 * 4096); `table` is `sigmoid_table()`."""
    rounding = (1 << shift) >> 1
    for i in range(out.size):
        value = wrap_int32(np.int64(x[i]) * multiplier + rounding) >> shift
        magnitude = abs(value)
        index = magnitude >> 9
        if index >= 255:
            result = 0x7FFF << 10
        else:
            result = (table[index] << 9) + (magnitude & 0x1FF) * (table[index + 1] - table[index])
        if value < 0:
            result = (1 << 25) - result - 1
        out[i] = (result + (1 << 9)) >> 10


OP = OpSpec("LOGISTIC", prepare, evaluate_single, OpData(lp64=16, ilp32=16))
