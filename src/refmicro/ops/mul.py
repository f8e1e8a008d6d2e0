"""MUL: output = act(a * b); quantized: requantize((a - za) * (b - zb)) + zo, clamped.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: int8 with any zero points; int16 with zero points 0; int32 without scaling, where
products wrap; float32. The multiplier is a double product of scales.
Source: `tensorflow/lite/micro/kernels/mul{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}mul.h`.
"""

from __future__ import annotations

import math

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._activation import float_range, quantized_range
from refmicro.ops._elementwise import (
    Broadcast,
    Pairwise,
    Shapes,
    evaluate_pair,
    int32_range,
    require_counts,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._pair_formula import Formula, product, real_factor
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast:
    """Check types and shapes, derive the multiplier."""
    a, b, output = ctx.input(0), ctx.input(1), ctx.output(0)
    require_counts(ctx, 2)
    require_same_type(ctx, a, b)
    ctx.require_type("input", a, DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)
    require_same_type(ctx, a, output, malformed=True)
    shapes = Shapes.of(ctx, a, b, output)
    activation = ctx.options.get("fused_activation_function", 0)
    if a.dtype is DType.FLOAT32:
        return Broadcast(shapes, np.multiply, float_range(activation))
    if a.dtype is DType.INT32:
        return Broadcast(shapes, np.multiply, int32_range(activation))
    arguments = _arguments(ctx, a, b, output, activation)
    a_offset, b_offset, multiplier, shift, *rest = arguments
    factors = real_factor(multiplier, shift), 0.0
    half = math.ldexp(1.0, shift - 1) if shift < 0 else 0.0
    formula = Formula(product, (a_offset, b_offset), factors, half, *rest)
    return Pairwise(shapes, _mul, arguments, output.dtype.numpy, formula)


def _arguments(
    ctx: PrepareContext, a: Tensor, b: Tensor, output: Tensor, activation: int
) -> tuple[int, ...]:
    low, high = quantized_range(activation, output)
    require_scale(ctx, "output", output)
    multiplier, shift = multiplier_pair(ctx, a.scale * b.scale / output.scale)
    require_zero_points(ctx, a, b, output)
    if a.dtype is DType.INT16:
        for tensor in (a, b, output):
            ctx.require(tensor.zero_point == 0, "int16 zero points must be 0", tensor.zero_point)
    return (-a.zero_point, -b.zero_point, multiplier, shift, output.zero_point, low, high)


@jit
def _mul(a, b, a_offset, b_offset, multiplier, shift, output_offset, low, high, out):
    # The compiler sees 32 bits times 32: fewer instructions than 64 times 64.
    multiplier = np.int64(np.int32(multiplier))
    for i in range(out.size):
        product = (np.int64(a[i]) + a_offset) * (np.int64(b[i]) + b_offset)
        product = np.int64(np.int32(product))
        value = multiply_by_quantized_multiplier(product, multiplier, shift)
        out[i] = clamp(value + output_offset, low, high)


OP = OpSpec("MUL", prepare, evaluate_pair, OpData(lp64=36, ilp32=36), params="TfLiteMulParams")
