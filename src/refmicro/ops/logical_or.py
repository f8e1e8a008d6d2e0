"""LOGICAL_OR: output = a or b.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: none; bool only.
Differs: TFLM looks at no type and reads whatever it gets as bool; here other types are refused.
Source: `tensorflow/lite/micro/kernels/logical{,_common}.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import Broadcast, Shapes, evaluate_pair, tensors_of
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Broadcast:
    """TFLM has no Prepare here."""
    a, b, output = tensors_of(ctx, 2)
    for what, tensor in (("input 0", a), ("input 1", b), ("output", output)):
        ctx.require_shape(tensor.dtype is DType.BOOL, f"{what} must be bool", tensor.dtype)
    return Broadcast(Shapes.of(ctx, a, b, output), np.logical_or)


OP = OpSpec("LOGICAL_OR", prepare, evaluate_pair)
