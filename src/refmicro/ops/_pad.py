"""What PAD and PADV2 share; TFLM registers one kernel for both.

Source: `tensorflow/lite/micro/kernels/pad{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/pad.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._spec import EvalContext, OpData, PrepareContext
from refmicro.types import DType, Tensor

OP_DATA = OpData(lp64=56, ilp32=56)
"""`OpData` of `tensorflow/lite/micro/kernels/pad.h`."""

_DIMENSIONS_MAX = 5


@dataclass(frozen=True, eq=False)
class Pad:
    """What eval needs: where the input lies in the output, and the value around it, None where an
    input holds it."""

    output: Tensor
    inside: tuple[slice, ...]
    value: int | None


def prepare_pad(ctx: PrepareContext) -> Pad:
    """Check types, shapes and paddings, and that the value has the output's quantization."""
    count = len(ctx.node.inputs)
    ctx.require(count in (2, 3), "must have 2 or 3 inputs", count)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, paddings = ctx.input(0), ctx.input(1)
    constant = ctx.optional_input(2)
    output = ctx.output(0)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    rank = len(x.shape)
    ctx.require(
        rank <= _DIMENSIONS_MAX, f"input must have at most {_DIMENSIONS_MAX} dimensions", rank
    )
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32)
    if constant is not None:
        ctx.require(
            constant.dtype is x.dtype,
            "the padding value must have the input's type",
            f"{constant.dtype} and {x.dtype}",
        )
        ctx.require(
            constant.elements == 1, "the padding value must be one element", constant.elements
        )
    pairs = _pairs(ctx, paddings, x, output)
    if x.dtype is DType.INT8:
        _check_quantization(ctx, output, constant)
    value = output.zero_point if x.dtype is DType.INT8 else 0
    inside = tuple(
        slice(before, before + size) for (before, _), size in zip(pairs, x.shape, strict=True)
    )
    return Pad(output, inside, None if constant is not None else value)


def _pairs(
    ctx: PrepareContext, paddings: Tensor, x: Tensor, output: Tensor
) -> list[tuple[int, int]]:
    """(before, after) of each dimension; TFLM reads them as int32 without looking at their type."""
    rank = len(output.shape)
    ctx.require(
        paddings.elements == 2 * rank,
        f"paddings must hold {2 * rank} values",
        paddings.elements,
    )
    ctx.require(paddings.is_constant, "paddings must be constant", "a computed tensor")
    ctx.require_shape(
        len(x.shape) == rank,
        "input and output must have as many dimensions",
        f"{len(x.shape)} and {rank}",
    )
    ctx.require_shape(paddings.dtype is DType.INT32, "paddings must be int32", paddings.dtype)
    values = paddings.array().reshape(rank, 2).tolist()
    for axis, (before, after) in enumerate(values):
        ctx.require(
            output.shape[axis] == x.shape[axis] + before + after,
            f"dimension {axis} of the output must be {x.shape[axis] + before + after}",
            output.shape[axis],
        )
        ctx.require_shape(min(before, after) >= 0, "paddings must not be negative", (before, after))
    return values


def _check_quantization(ctx: PrepareContext, output: Tensor, constant: Tensor | None) -> None:
    if constant is None:
        low, high = -128, 127
        ctx.require(
            low <= output.zero_point <= high,
            "the output's zero point must be an int8 value",
            output.zero_point,
        )
        return
    ctx.require(
        constant.zero_point == output.zero_point,
        "the padding value must have the output's zero point",
        f"{constant.zero_point} and {output.zero_point}",
    )
    ctx.require(
        constant.scale == output.scale,
        "the padding value must have the output's scale",
        f"{constant.scale} and {output.scale}",
    )


def evaluate_pad(ctx: EvalContext, data: Pad) -> None:
    """The value everywhere, then the input in its place."""
    x = ctx.input(0)
    value = data.value
    if value is None:
        value = ctx.input(2).reshape(-1, *(1 for _ in data.output.shape))
    batch = x.shape[0] if data.value is not None else max(x.shape[0], value.shape[0])
    out = np.empty((batch, *data.output.shape), x.dtype)
    out[...] = value
    out[(slice(None), *data.inside)] = x
    ctx.set_output(0, out)
