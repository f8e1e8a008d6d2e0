"""REDUCE_ALL: whether all values over axes of a tensor are true.

Shapes: axis of any number of values in -rank..rank-1, repeats count once; output with as many
elements as remain. The axis must be constant.
Quantization: none, bool only.
Scratch: 4 bytes an input dimension, 4 an axis.
Differs: a computed axis is refused.
Source: `tensorflow/lite/micro/kernels/reduce{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/reduce.h`.
"""

from __future__ import annotations

from refmicro.ops._reduce import (
    OP_DATA,
    PARAMS,
    Reduction,
    reduction,
    request_iterators,
    simple_temporaries,
    terms_first,
)
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Reduction:
    """Check types and axes."""
    x, output, axis = ctx.input(0), ctx.output(0), ctx.input(1)
    ctx.require_type("input", x, DType.BOOL)
    simple_temporaries(ctx)
    request_iterators(ctx, x, axis)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    return reduction(ctx, x, axis, output)


def evaluate(ctx: EvalContext, data: Reduction) -> None:
    """Logical and over the terms."""
    x = ctx.input(0)
    ctx.set_output(0, terms_first(x, data.axes).all(1).reshape(x.shape[0], *data.output.shape))


OP = OpSpec("REDUCE_ALL", prepare, evaluate, OP_DATA, params=PARAMS)
