"""TANH: output = (e^x - e^-x) / (e^x + e^-x).

Shapes: input and output have as many elements.
Quantization: int8 in 32-bit fixed point, the output's scale taken as 1/128 and its zero point as 0
whatever the model says; int16 with zero points 0 and output scale 2^-15, by a table with
interpolation; float32 by `tanhf` (see `_libm.py`).
Differs: as for LOGISTIC.
Source: `tensorflow/lite/micro/kernels/tanh.cc`,
`tensorflow/lite/kernels/internal/reference/integer_ops/tanh.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier, rounding_divide_by_pot
from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
    require_same_type,
)
from refmicro.ops._fixed_functions import tanh, wrap_int32
from refmicro.ops._libm import tanhf
from refmicro.ops._sigmoid import int8_arguments, int16_arguments
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types, shapes and zero points, derive the input's multiplier."""
    ctx.input(0)  # TFLM's Prepare holds the input twice
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT16, DType.INT8)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, tanhf)
    if x.dtype is DType.INT8:
        return Lookup.of_kernel(x, output, _tanh_int8, int8_arguments(ctx, x))
    arguments = int16_arguments(ctx, x, output, largest_power=1)
    return Lookup.of_kernel(x, output, tanh_int16, arguments)


@jit
def _tanh_int8(x, zero_point, radius, multiplier, shift, out):
    for i in range(out.size):
        value = np.int64(x[i]) - zero_point
        if value <= -radius:
            out[i] = -128
        elif value >= radius:
            out[i] = 127
        else:
            value = multiply_by_quantized_multiplier(value, multiplier, shift)
            out[i] = clamp(rounding_divide_by_pot(tanh(value, 4), 24), -128, 127)


@jit
def tanh_int16(x, multiplier, shift, table, out):
    """x * multiplier / 2^shift is in 1/(3 * 4096); `table` is `sigmoid_table()`."""
    rounding = (1 << shift) >> 1
    for i in range(out.size):
        value = wrap_int32(np.int64(x[i]) * multiplier + rounding) >> shift
        magnitude = abs(value)
        index = magnitude >> 8
        if index >= 255:
            result = 0xFFFF << 8
        else:
            result = (table[index] << 8) + (magnitude & 0xFF) * (table[index + 1] - table[index])
        result -= 1 << 23
        if value < 0:
            result = -result - 1
        out[i] = (result + (1 << 7)) >> 8


OP = OpSpec("TANH", prepare, evaluate_single, OpData(lp64=16, ilp32=16))
