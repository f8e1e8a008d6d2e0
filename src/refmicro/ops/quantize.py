"""QUANTIZE: float32 to integers, q = round(x / scale) + zo, or integers to other scales.

Shapes: input and output have as many elements.
Quantization: float32 to int8, int16; int32 to int8, int16; int16 to int8, int16, int32; int8 to
int8, uint8, int16, int32; uint8 to int8. The output has one scale.
Differs: floats that do not fit int32 (and NaN) become -2^31 before the zero point is added, and
sums wrap: C++ leaves both undefined, this is what x86 does.
Source: `tensorflow/lite/micro/kernels/quantize{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{quantize,requantize}.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
    require_scale,
)
from refmicro.ops._fixed_functions import wrap_int32
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import INTEGER_LIMITS, DType

_OUTPUTS = {
    DType.FLOAT32: (DType.INT8, DType.INT16),
    DType.INT32: (DType.INT8, DType.INT16),
    DType.INT16: (DType.INT8, DType.INT16, DType.INT32),
    DType.INT8: (DType.INT8, DType.UINT8, DType.INT16, DType.INT32),
    DType.UINT8: (DType.INT8,),
}


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types and shapes, derive the multiplier."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    scales = output.quantization.scale if output.quantization.is_affine else ()
    ctx.require(len(scales) == 1, "the output must have one scale", f"{len(scales)} scales")
    ctx.require_type("input", x, *_OUTPUTS)
    ctx.require_type(f"output of {x.dtype} input", output, *_OUTPUTS[x.dtype])
    require_same_elements(ctx, x, output)
    limits = INTEGER_LIMITS[output.dtype]
    if x.dtype is DType.FLOAT32:
        arguments = (np.float32(output.scale), output.zero_point, *limits)
        return Map.of_kernel(output, _quantize, arguments)
    require_scale(ctx, "output", output)
    multiplier, shift = multiplier_pair(ctx, x.scale / output.scale)
    arguments = (x.zero_point, multiplier, shift, output.zero_point, *limits)
    if x.dtype is DType.INT32:
        return Map.of_kernel(output, _requantize, arguments)
    return Lookup.of_kernel(x, output, _requantize, arguments)


@jit
def _quantize(x, scale, zero_point, low, high, out):
    for i in range(out.size):
        value = np.float64(x[i] / scale)  # a float32 quotient
        rounded = np.floor(abs(value) + 0.5)
        result = -2147483648
        if rounded < 2147483648.0:  # not for NaN either
            result = np.int64(rounded)
            if value < 0:
                result = -result
        out[i] = clamp(wrap_int32(result + zero_point), low, high)


@jit
def _requantize(x, input_zero_point, multiplier, shift, output_zero_point, low, high, out):
    for i in range(out.size):
        value = wrap_int32(np.int64(x[i]) - input_zero_point)
        value = multiply_by_quantized_multiplier(value, multiplier, shift)
        out[i] = clamp(wrap_int32(value + output_zero_point), low, high)


OP = OpSpec("QUANTIZE", prepare, evaluate_single, OpData(lp64=32, ilp32=32))
