"""RELU: output = max(x, 0); quantized: rescaled, then clamped from below at the output's zero.

Shapes: input and output have as many elements.
Quantization: int8; int16 with zero points 0; float32. The multiplier is a double quotient of scales
(the source read here takes a float32 one, the pinned wheel does not).
Source: `tensorflow/lite/micro/kernels/activations{,_common}.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_same_elements,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types and shapes, derive the multiplier."""
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    require_same_type(ctx, x, output, malformed=True)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, _relu)
    if x.dtype is DType.INT16:
        for tensor in (x, output):
            ctx.require(tensor.zero_point == 0, "int16 zero points must be 0", tensor.zero_point)
    require_scale(ctx, "output", output)
    multiplier, shift = multiplier_pair(ctx, x.scale / output.scale)
    require_zero_points(ctx, x, output)
    highest = INTEGER_LIMITS[output.dtype][1]
    arguments = (x.zero_point, multiplier, shift, output.zero_point, highest)
    return Lookup.of_kernel(x, output, _relu_quantized, arguments)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.float32(0), x)


@jit
def _relu_quantized(x, zero_point, multiplier, shift, output_zero_point, high, out):
    for i in range(out.size):
        value = multiply_by_quantized_multiplier(np.int64(x[i]) - zero_point, multiplier, shift)
        out[i] = clamp(value + output_zero_point, output_zero_point, high)


OP = OpSpec("RELU", prepare, evaluate_single, OpData(lp64=28, ilp32=28))
