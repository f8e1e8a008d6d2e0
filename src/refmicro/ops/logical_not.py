"""LOGICAL_NOT: output = not x.

Shapes: input and output have as many elements.
Quantization: none; bool only.
Source: `tensorflow/lite/micro/kernels/elementwise.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import (
    Map,
    evaluate_single,
    require_counts,
    require_same_elements,
    require_same_type,
)
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.BOOL)
    require_same_elements(ctx, x, output)
    return Map(output.shape, np.logical_not)


OP = OpSpec("LOGICAL_NOT", prepare, evaluate_single)
