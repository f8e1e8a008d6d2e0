"""FLOOR_DIV: output = floor(a / b), the quotient in double.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: none; float32 only.
A divisor of 0 ends the invocation with an error, as in TFLM.
Source: `tensorflow/lite/micro/kernels/floor_div.cc`,
`tensorflow/lite/kernels/internal/reference/floor_div.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.errors import UnsupportedError
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
    return Broadcast(Shapes.of(ctx, a, b, output), _floor_div)


def _floor_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Refuses divisors of 0.

    Raises:
        UnsupportedError: for such a divisor; TFLM's Invoke returns an error.
    """
    if (b == 0).any():
        raise UnsupportedError(
            "FLOOR_DIV: a divisor must not be 0", hint="TFLM's Invoke fails on such an input"
        )
    return np.floor(a.astype(np.float64) / b.astype(np.float64)).astype(np.float32)


OP = OpSpec("FLOOR_DIV", prepare, evaluate_pair)
