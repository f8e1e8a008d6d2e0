"""MAXIMUM: output = a > b ? a : b, so that a NaN in `a` gives `b`.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: float32, int8, int16, int32, int64; scales and zero points are ignored.
Source: `tensorflow/lite/micro/kernels/maximum_minimum.cc`,
`tensorflow/lite/kernels/internal/reference/maximum_minimum.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import (
    Broadcast,
    Shapes,
    evaluate_pair,
    require_same_type,
    tensors_of,
)
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Broadcast:
    """TFLM has no Prepare here; its Eval refuses other types."""
    a, b, output = tensors_of(ctx, 2)
    types = (DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32, DType.INT64)
    ctx.require_type("output", output, *types)
    require_same_type(ctx, a, b, output, malformed=True)
    shapes = Shapes.of(ctx, a, b, output)
    return Broadcast(shapes, _larger if a.dtype is DType.FLOAT32 else np.maximum)


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NumPy's own keeps NaNs and may pick either zero."""
    return np.where(a > b, a, b)


OP = OpSpec("MAXIMUM", prepare, evaluate_pair)
