"""REDUCE_MAX and REDUCE_MIN are one kernel with two comparisons.

Source: `tensorflow/lite/micro/kernels/reduce{,_common}.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.ops._reduce import (
    Reduction,
    reduction,
    request_iterators,
    simple_temporaries,
    terms_first,
)
from refmicro.ops._spec import EvalContext, PrepareContext
from refmicro.types import DType


def prepare_extremum(ctx: PrepareContext) -> Reduction:
    """Check types, axes, and that int8 input and output share their quantization."""
    simple_temporaries(ctx)
    x, output, axis = ctx.input(0), ctx.output(0), ctx.input(1)
    request_iterators(ctx, x, axis)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    if x.dtype is DType.INT8:
        ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
        ctx.require(
            x.scale == output.scale,
            "input and output must have one scale",
            f"{x.scale} and {output.scale}",
        )
        ctx.require(
            x.zero_point == output.zero_point,
            "input and output must have one zero point",
            f"{x.zero_point} and {output.zero_point}",
        )
    return reduction(ctx, x, axis, output)


def evaluate_extremum(ctx: EvalContext, data: Reduction, *, largest: bool) -> None:
    """Starts from the type's finite end; a NaN is never taken."""
    x = ctx.input(0)
    terms = terms_first(x, data.axes)
    limits = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
    start = limits.min if largest else limits.max
    out = np.full((terms.shape[0], terms.shape[2]), start, x.dtype)
    (_largest if largest else _smallest)(terms, out)
    ctx.set_output(0, out.reshape(x.shape[0], *data.output.shape))


@jit
def _largest(terms, out):
    for n in range(out.shape[0]):
        best = out[n]
        for i in range(terms.shape[1]):
            values = terms[n, i]
            for k in range(best.size):
                best[k] = values[k] if values[k] > best[k] else best[k]


@jit
def _smallest(terms, out):
    for n in range(out.shape[0]):
        best = out[n]
        for i in range(terms.shape[1]):
            values = terms[n, i]
            for k in range(best.size):
                best[k] = values[k] if values[k] < best[k] else best[k]
