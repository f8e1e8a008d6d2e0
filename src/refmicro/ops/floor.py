"""FLOOR: output = the largest whole number that is not above x.

Shapes: input and output have as many elements.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/floor.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import (
    Map,
    evaluate_single,
    require_same_elements,
    require_same_type,
    tensors_of,
)
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Map:
    """TFLM has no Prepare here; its Eval refuses other types."""
    x, output = tensors_of(ctx, 1)
    ctx.require_type("input", x, DType.FLOAT32)
    require_same_type(ctx, x, output, malformed=True)
    require_same_elements(ctx, x, output)
    return Map(output.shape, np.floor)


OP = OpSpec("FLOOR", prepare, evaluate_single)
