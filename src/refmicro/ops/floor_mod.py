"""FLOOR_MOD: output = a - floor(a / b) * b, from C's `fmod`.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions. A divisor of 0 gives NaN.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/floor_mod.cc`,
`tensorflow/lite/kernels/internal/reference/floor_mod.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import (
    Broadcast,
    Shapes,
    evaluate_pair,
    require_counts,
    require_same_type,
)
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Broadcast:
    """Check types and shapes."""
    require_counts(ctx, 2)
    a, b, output = ctx.input(0), ctx.input(1), ctx.output(0)
    require_same_type(ctx, a, b, output)
    ctx.require_type("input", a, DType.FLOAT32)
    return Broadcast(Shapes.of(ctx, a, b, output), _floor_mod)


def _floor_mod(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


OP = OpSpec("FLOOR_MOD", prepare, evaluate_pair)
