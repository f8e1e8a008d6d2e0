"""ELU: output = x where x >= 0, e^x - 1 below.

Shapes: input and output have as many elements.
Quantization: int8 through a table of 256 results; float32. In the table e^x is `expf` minus 1 in
float32; the float32 kernel uses `expm1f`. See `_libm.py` for what is promised about these.
Persistent: the table is the whole of the operator's data.
Source: `tensorflow/lite/micro/kernels/elu.cc`,
`tensorflow/lite/kernels/internal/reference/elu.h`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro.ops._elementwise import (
    Lookup,
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
    require_same_type,
    round_away,
    truncate_to_int32,
)
from refmicro.ops._libm import expf, expm1f
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Lookup | Map:
    """Check types and shapes."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    require_same_elements(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return Map(output.shape, _elu)
    return Lookup(output.shape, x.dtype.numpy, partial(_quantized_elu, x, output))


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, expm1f(x), x)


def _quantized_elu(x: Tensor, output: Tensor, values: np.ndarray) -> np.ndarray:
    """Dequantize, transform, quantize: each step a float32 one."""
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / np.float32(output.scale)
        real = np.float32(x.scale) * (values.astype(np.int32) - x.zero_point).astype(np.float32)
        real = np.where(real < 0, expf(real) - np.float32(1), real)
        rounded = round_away(real * inverse) + np.float32(output.zero_point)
    return truncate_to_int32(rounded).clip(-128, 127).astype(np.int8)


OP = OpSpec("ELU", prepare, evaluate_single, OpData(lp64=256, ilp32=256))
