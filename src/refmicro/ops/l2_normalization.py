"""L2_NORMALIZATION over the last dimension: output = x / sqrt(sum of x^2).

Shapes: input and output of one rank, 1 to 4, with the same last dimension and as many elements.
Quantization: int8, the output taken as scale 1/128 and zero point 0 whatever the model says;
float32, the norm is at least 1e-6. A fused activation is refused.
Differs: sums of int8 squares that pass int32 wrap, as x86 does.
Source: `tensorflow/lite/micro/kernels/l2norm.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}l2normalization.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import (
    require_counts,
    require_same_depth,
    require_same_type,
    require_zero_points,
)
from refmicro.ops._fixed_functions import inverse_square_root, wrap_int32
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType


@dataclass(frozen=True)
class L2Normalization:
    """What eval needs; `zero_point` is None for float32."""

    depth: int
    shape: tuple[int, ...]
    zero_point: int | None


def prepare(ctx: PrepareContext) -> L2Normalization:
    """Check types and shapes."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require(len(x.shape) <= 4, "the input must have at most 4 dimensions", len(x.shape))
    ctx.require_type("output", output, DType.FLOAT32, DType.INT8)
    require_same_type(ctx, x, output)
    activation = ctx.options.get("fused_activation_function", 0)
    ctx.require(activation == 0, "there must be no fused activation", activation)
    require_same_depth(ctx, x, output)
    if x.dtype is DType.FLOAT32:
        return L2Normalization(x.shape[-1], output.shape, None)
    require_zero_points(ctx, x)
    return L2Normalization(x.shape[-1], output.shape, x.zero_point)


def evaluate(ctx: EvalContext, data: L2Normalization) -> None:
    """All rows at once."""
    x = ctx.input(0)
    rows = np.ascontiguousarray(x).reshape(-1, data.depth)
    if data.zero_point is None:
        with np.errstate(all="ignore"):
            norms = np.sqrt(np.add.accumulate(rows * rows, axis=1)[:, -1:])
            epsilon = np.float32(1e-6)
            out = rows / np.where(norms < epsilon, epsilon, norms)
    else:
        out = np.empty(rows.shape, np.int8)
        _normalize(rows, data.zero_point, out)
    ctx.set_output(0, out.reshape(x.shape[0], *data.shape))


def bind(ctx: BindContext, data: L2Normalization) -> list[Step] | None:
    """One call for all rows."""
    x, out = ctx.input(0), ctx.output(0)
    if data.zero_point is None or x.size != out.size:
        return None
    return [
        (
            _normalize.ready,
            (x.reshape(-1, data.depth), data.zero_point, out.reshape(-1, data.depth)),
        )
    ]


@jit
def _normalize(x, zero_point, out):
    for row in range(x.shape[0]):
        total = 0
        for i in range(x.shape[1]):
            value = np.int64(x[row, i]) - zero_point
            total += value * value
        multiplier, right_shift = inverse_square_root(wrap_int32(total))
        for i in range(x.shape[1]):
            value = np.int64(x[row, i]) - zero_point
            value = multiply_by_quantized_multiplier(value, multiplier, 7 - right_shift)
            out[row, i] = clamp(value, -128, 127)


OP = OpSpec(
    "L2_NORMALIZATION",
    prepare,
    evaluate,
    OpData(lp64=4, ilp32=4),
    params="TfLiteL2NormParams",
    bind=bind,
)
