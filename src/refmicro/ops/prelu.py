"""PRELU: output = x where x >= 0, alpha * x elsewhere, alpha a tensor.

Shapes: input and alpha broadcast to the output by NumPy's rules; at most 6 dimensions, float32 at
most 4.
Quantization: int8 and int16 with int8 alpha; float32. Multipliers come from doubles.
Source: `tensorflow/lite/micro/kernels/prelu{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/prelu.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import (
    MAX_RANK,
    Broadcast,
    Pairwise,
    Shapes,
    evaluate_pair,
    require_rank,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast:
    """Check types and shapes, derive the multipliers."""
    x, alpha, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    require_same_type(ctx, x, output, malformed=True)
    if x.dtype is DType.FLOAT32:
        require_same_type(ctx, x, alpha, malformed=True)
        require_rank(ctx, 4, x, alpha, output)
        return Broadcast(Shapes.of(ctx, x, alpha, output), _prelu)
    if x.dtype is DType.INT16:
        ctx.require_type("alpha", alpha, DType.INT8)
    ctx.require_shape(alpha.dtype is DType.INT8, "alpha must be int8", alpha.dtype)
    require_rank(ctx, MAX_RANK, x, alpha, output)
    shapes = Shapes.of(ctx, x, alpha, output)
    require_scale(ctx, "output", output)
    identity = multiplier_pair(ctx, x.scale / output.scale)
    slope = multiplier_pair(ctx, x.scale * alpha.scale / output.scale)
    require_zero_points(ctx, x, alpha, output)
    limits = INTEGER_LIMITS[output.dtype]
    arguments = (-x.zero_point, -alpha.zero_point, *identity, *slope, output.zero_point, *limits)
    return Pairwise(shapes, _prelu_quantized, arguments, output.dtype.numpy)


def _prelu(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, x, x * alpha)


@jit
def _prelu_quantized(
    x,
    alpha,
    offset,
    alpha_offset,
    multiplier,
    shift,
    slope,
    slope_shift,
    output_offset,
    low,
    high,
    out,
):
    for i in range(out.size):
        value = np.int64(x[i]) + offset
        if value >= 0:
            value = multiply_by_quantized_multiplier(value, multiplier, shift)
        else:
            value *= np.int64(alpha[i]) + alpha_offset
            value = multiply_by_quantized_multiplier(value, slope, slope_shift)
        out[i] = clamp(value + output_offset, low, high)


OP = OpSpec("PRELU", prepare, evaluate_pair, OpData(lp64=28, ilp32=28))
