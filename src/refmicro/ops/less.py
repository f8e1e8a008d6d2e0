"""LESS: output = a < b, as bool.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: int8 with scales below 1, compared after rescaling; float32, int32, int64.
Source: `tensorflow/lite/micro/kernels/comparisons.cc`.
"""

from __future__ import annotations

from refmicro.ops._comparison import (
    LESS,
    OP_DATA,
    ORDERED_TYPES,
    prepare_comparison,
)
from refmicro.ops._elementwise import Broadcast, Pairwise, evaluate_pair
from refmicro.ops._spec import OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast:
    """Check types and shapes, derive multipliers of int8 inputs."""
    return prepare_comparison(ctx, LESS, ORDERED_TYPES)


OP = OpSpec("LESS", prepare, evaluate_pair, OP_DATA)
