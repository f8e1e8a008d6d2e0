"""LEAKY_RELU: output = x where x > 0, alpha * x elsewhere.

Shapes: input and output have as many elements.
Quantization: int8 and int16 with a multiplier for either side; float32. Multipliers come from
doubles (the source read here takes float32 steps, the pinned wheel does not).
Source: `tensorflow/lite/micro/kernels/leaky_relu{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/leaky_relu.h`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, f32, multiply_by_quantized_multiplier
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
from refmicro.types import INTEGER_LIMITS, DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types and shapes, derive the multipliers."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    require_same_elements(ctx, x, output)
    alpha = f32(ctx.options.get("alpha", 0.0))
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, partial(_leaky_relu, np.float32(alpha)))
    require_scale(ctx, "output", output)
    slope = multiplier_pair(ctx, x.scale * abs(alpha) / output.scale)
    identity = multiplier_pair(ctx, x.scale / output.scale)
    require_zero_points(ctx, x, output)
    sign = -1 if alpha < 0 else 1
    limits = INTEGER_LIMITS[output.dtype]
    arguments = (x.zero_point, *slope, sign, *identity, output.zero_point, *limits)
    return Lookup.of_kernel(x, output, _leaky_relu_quantized, arguments)


def _leaky_relu(alpha: np.float32, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x * alpha)


@jit
def _leaky_relu_quantized(
    x,
    zero_point,
    slope,
    slope_shift,
    sign,
    multiplier,
    shift,
    output_zero_point,
    low,
    high,
    out,
):
    for i in range(out.size):
        value = np.int64(x[i]) - zero_point
        if value >= 0:
            value = multiply_by_quantized_multiplier(value, multiplier, shift)
        else:
            value = sign * multiply_by_quantized_multiplier(value, slope, slope_shift)
        out[i] = clamp(value + output_zero_point, low, high)


OP = OpSpec(
    "LEAKY_RELU",
    prepare,
    evaluate_single,
    OpData(lp64=24, ilp32=24),
    params="TfLiteLeakyReluParams",
)
