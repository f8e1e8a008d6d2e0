"""DEQUANTIZE: output = scale * (q - zero_point), a double product rounded once to float32.

Shapes: input and output have as many elements.
Quantization: int8, int16 or uint8 to float32, by the input's first scale and zero point.
Source: `tensorflow/lite/micro/kernels/dequantize{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/dequantize.h`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro.ops._elementwise import (
    Lookup,
    evaluate_single,
    require_counts,
    require_same_elements,
)
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Lookup:
    """Check types and shapes."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.INT8, DType.INT16, DType.UINT8)
    ctx.require_type("output", output, DType.FLOAT32)
    require_same_elements(ctx, x, output)
    return Lookup(output.shape, x.dtype.numpy, partial(_dequantize, x))


def _dequantize(x: Tensor, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        # A difference that passes int32 wraps, as TFLM's builds do.
        difference = (values.astype(np.int64) - x.zero_point).astype(np.int32)
        return (x.scale * difference).astype(np.float32)


OP = OpSpec("DEQUANTIZE", prepare, evaluate_single, OpData(lp64=32, ilp32=32))
