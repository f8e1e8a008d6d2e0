"""ABS: output = |x|.

Shapes: input and output have as many elements.
Quantization: int8 and int16, rescaled where the scales differ, int16 with zero points 0; int16
without quantization, where -32768 stays; float32. The ratio of scales is a double quotient (the
source read here takes a float32 one, the pinned wheel does not).
Source: `tensorflow/lite/micro/kernels/elementwise.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import Lookup, Map, evaluate_single
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._rescale import OP_DATA, prepare_rescaled
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types, shapes and quantization, derive the multiplier."""
    x, output, quantized = prepare_rescaled(ctx, DType.FLOAT32, DType.INT8, DType.INT16)
    if not quantized:
        return Map(output.shape, np.abs)
    # A multiplier of 1 is exact, so equal scales need no path of their own.
    multiplier, shift = multiplier_pair(ctx, x.scale / output.scale)
    limits = INTEGER_LIMITS[x.dtype]
    arguments = (x.zero_point, multiplier, shift, output.zero_point, *limits)
    return Lookup.of_kernel(x, output, _abs, arguments)


@jit
def _abs(x, zero_point, multiplier, shift, output_zero_point, low, high, out):
    for i in range(out.size):
        value = abs(np.int64(x[i]) - zero_point)
        value = multiply_by_quantized_multiplier(value, multiplier, shift)
        out[i] = clamp(value + output_zero_point, low, high)


OP = OpSpec("ABS", prepare, evaluate_single, OP_DATA)
