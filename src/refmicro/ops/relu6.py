"""RELU6: output = min(max(x, 0), 6), without rescaling.

Shapes: input and output have as many elements.
Quantization: int8 and int16, clamped to the input's 0 and 6; the output's scale and zero point are
not looked at; float32.
Source: `tensorflow/lite/micro/kernels/activations{,_common}.cc`, `FloatToQuantizedType` in
`tensorflow/lite/micro/micro_utils.h`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro.fixedpoint import round_half_away
from refmicro.ops._elementwise import (
    Map,
    evaluate_single,
    require_same_elements,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType


def prepare(ctx: PrepareContext) -> Map:
    """Check types and shapes, quantize 0 and 6; TFLM does not hold the output here."""
    x = ctx.input(0)
    ctx.require_shape(len(ctx.node.outputs) > 0, "must have an output", "none")
    output = ctx.node.outputs[0]
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    require_same_type(ctx, x, output, malformed=True)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, partial(_clip, np.float32(0), np.float32(6)))
    require_scale(ctx, "input", x)
    require_zero_points(ctx, x)
    low, high = INTEGER_LIMITS[x.dtype]
    quotient = float(np.float32(6) / np.float32(x.scale))
    fits = quotient < 2**31
    six = round_half_away(quotient) + x.zero_point if fits else low
    kind = x.dtype.numpy.type
    return Map(output.shape, partial(_clip, kind(x.zero_point), kind(min(max(six, low), high))))


def _clip(low: np.generic, high: np.generic, x: np.ndarray) -> np.ndarray:
    return np.where(x > high, high, np.where(x < low, low, x))


OP = OpSpec("RELU6", prepare, evaluate_single, OpData(lp64=8, ilp32=8))
