"""ZEROS_LIKE: output = zero bytes, whatever the input and the zero point.

Shapes: input and output have as many elements.
Quantization: int8, int32, int64, float32.
Source: `tensorflow/lite/micro/kernels/zeros_like.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._elementwise import require_counts, require_same_elements, require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Tensor:
    """Check types and shapes; returns the output."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.INT64, DType.INT32, DType.INT8, DType.FLOAT32)
    require_same_type(ctx, x, output, malformed=True)
    require_same_elements(ctx, x, output)
    return output


def evaluate(ctx: EvalContext, output: Tensor) -> None:
    """One row for the whole batch."""
    ctx.set_output(0, np.zeros((1, *output.shape), output.dtype.numpy))


OP = OpSpec("ZEROS_LIKE", prepare, evaluate)
