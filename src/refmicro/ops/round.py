"""ROUND: output = the nearest whole number, halves to even.

Values in -0.5..0 give +0, because TFLM rounds up by adding 1 to the whole number below.

Shapes: input and output have the same shape.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/round.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import Map, evaluate_single
from refmicro.ops._float_function import prepare_function
from refmicro.ops._spec import OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    return prepare_function(ctx, _round, same_shape=True)


def _round(x: np.ndarray) -> np.ndarray:
    below = np.floor(x)
    rest = x - below
    stays = (rest < 0.5) | ((rest == 0.5) & (below % 2 == 0))
    return np.where(stays, below, below + np.float32(1))


OP = OpSpec("ROUND", prepare, evaluate_single)
