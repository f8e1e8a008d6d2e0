"""CAST: output = x in another type.

Shapes: input and output have as many elements.
Quantization: scales are ignored. bool, int8, int16, int32, uint32, float32, each to each. Integers
keep their low bits; floats are cut towards 0 and saturate, a NaN becomes 0; to bool, all but 0 is
true.
The source read here has no bool output and leaves floats that do not fit undefined; this is what
the pinned wheel does.
Source: `tensorflow/lite/micro/kernels/cast.cc`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro.ops._elementwise import (
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
)
from refmicro.ops._product import require_type_option
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType

_TYPES = (DType.BOOL, DType.INT8, DType.INT16, DType.INT32, DType.UINT32, DType.FLOAT32)


def prepare(ctx: PrepareContext) -> Map:
    """Check types and shapes."""
    require_type_option(ctx, "in_data_type")
    require_type_option(ctx, "out_data_type")
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, *_TYPES)
    ctx.require_type("output", output, *_TYPES)
    require_same_elements(ctx, x, output)
    return Map(output.shape, partial(_cast, output.dtype))


def _cast(dtype: DType, x: np.ndarray) -> np.ndarray:
    if x.dtype == np.float32 and dtype not in (DType.FLOAT32, DType.BOOL):
        limits = np.iinfo(dtype.numpy)
        x = np.where(np.isnan(x), 0.0, x.astype(np.float64)).clip(limits.min, limits.max)
    return x.astype(dtype.numpy)


OP = OpSpec("CAST", prepare, evaluate_single, params="TfLiteCastParams")
