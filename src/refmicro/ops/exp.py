"""EXP: output = e^x, float32 only.

Shapes: input and output have the same shape.
Source: `tensorflow/lite/micro/kernels/exp.cc`; `expf` as in `_libm.py`.
"""

from __future__ import annotations

from refmicro.ops._elementwise import Map, evaluate_single, require_counts, require_same_type
from refmicro.ops._libm import expf
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32)
    require_same_type(ctx, x, output)
    ctx.require(
        x.shape == output.shape,
        "input and output must have the same shape",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    return Map(output.shape, expf)


OP = OpSpec("EXP", prepare, evaluate_single)
