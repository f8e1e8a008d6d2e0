"""CEIL: output = the smallest whole number that is not below x.

Shapes: input and output have the same shape.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/ceil.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import Map, evaluate_single
from refmicro.ops._float_function import prepare_function
from refmicro.ops._spec import OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    return prepare_function(ctx, np.ceil, same_shape=True)


OP = OpSpec("CEIL", prepare, evaluate_single)
