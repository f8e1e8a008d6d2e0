"""STRIDED_SLICE: output = input[begin:end:strides], axis by axis, with masks.

Shapes: input of 0 to 4 dimensions; `begin`, `end` and `strides` are constants with an int32 for
each dimension; the output's declared shape must be the slice's. A bit in `shrink_axis_mask` takes
one index and drops the axis; `begin_mask` and `end_mask` open an end. `ellipsis_mask` and
`new_axis_mask` are ignored, as TFLM does.
Quantization: float32, int8, int16, int32 and bool; bytes are copied.
Persistent: 84 bytes of indices.
Differs: input and output of different types, and a shrunk axis whose index lies outside or whose
stride is negative, are refused; TFLM would read outside the tensor or write nothing.
Source: `tensorflow/lite/micro/kernels/strided_slice{,_common}.cc`,
`tensorflow/lite/kernels/internal/strided_slice_logic.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.ops._movement import bind_view, int32_words, require_same_type
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType

_TYPES = (DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32, DType.BOOL)


@dataclass(frozen=True, eq=False)
class Slices:
    """`index` is NumPy's index of the whole batch, `shape` the output's shape."""

    index: tuple[slice | int, ...]
    shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Slices:
    """Resolve the masks to plain slices."""
    ctx.require(len(ctx.node.inputs) == 4, "must have 4 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, begin, end, strides = (ctx.input(i) for i in range(4))
    output = ctx.output(0)
    rank = len(x.shape)
    ctx.require(rank <= 4, "input must have at most 4 dimensions", rank)
    begins = int32_words(ctx, "begin", begin, rank)
    ends = int32_words(ctx, "end", end, rank)
    steps = int32_words(ctx, "strides", strides, rank)
    index: list[slice | int] = [slice(None)]
    shape: list[int] = []
    for axis in range(rank):
        ctx.require(steps[axis] != 0, "strides must not be 0", f"stride 0 of dimension {axis}")
        if _bit(ctx, "shrink_axis_mask", axis):
            index.append(_single(ctx, x.shape[axis], axis, begins[axis], steps[axis]))
        else:
            start, count = _span(ctx, x.shape[axis], axis, begins[axis], ends[axis], steps[axis])
            shape.append(count)
            stop = start + count * steps[axis]
            index.append(slice(start, None if stop < 0 else stop, steps[axis]))
    ctx.require(output.shape == tuple(shape), f"output must have shape {shape}", list(output.shape))
    ctx.require_type("output", output, *_TYPES)
    require_same_type(ctx, x, output)
    return Slices(tuple(index), output.shape)


def _bit(ctx: PrepareContext, mask: str, axis: int) -> bool:
    return bool(ctx.options.get(mask, 0) >> axis & 1)


def _clamp(value: int, size: int, step: int) -> int:
    """Into 0..size going forward, -1..size-1 backward; negative indices count from the end."""
    value = value + size if value < 0 else value
    return min(max(value, 0), size) if step > 0 else min(max(value, -1), size - 1)


def _start(ctx: PrepareContext, size: int, axis: int, begin: int, step: int) -> int:
    if _bit(ctx, "begin_mask", axis):
        return 0 if step > 0 else size - 1
    return _clamp(begin, size, step)


def _single(ctx: PrepareContext, size: int, axis: int, begin: int, step: int) -> int:
    """The index that a shrunk axis takes."""
    start = _start(ctx, size, axis, begin, step)
    ctx.require_shape(
        0 <= start < size and step > 0,
        f"a shrunk dimension of size {size} must take an index inside it with a positive stride",
        f"index {begin}, stride {step}",
    )
    return start


def _span(
    ctx: PrepareContext, size: int, axis: int, begin: int, end: int, step: int
) -> tuple[int, int]:
    """First index and number of indices along an axis that stays."""
    if size == 0:
        return 0, 0
    start = _start(ctx, size, axis, begin, step)
    stop = _clamp(end, size, step)
    if _bit(ctx, "end_mask", axis):
        stop = size if step > 0 else -1
    count = max(0, math.ceil((stop - start) / step))
    # TFLM divides in float32, which is exact for every tensor that fits its 2 GiB limit but the
    # very longest; those would be written past their end.
    rounded = max(0, math.ceil(np.float32(stop - start) / np.float32(step)))
    ctx.require_shape(count == rounded, f"dimension {axis} must be short enough", f"size {size}")
    return start, count


def evaluate(ctx: EvalContext, data: Slices) -> None:
    """Copy the slice."""
    x = ctx.input(0)
    values = np.ascontiguousarray(x[data.index])
    ctx.set_output(0, values.reshape(x.shape[0], *data.shape))


def bind(ctx: BindContext, data: Slices) -> list[Step]:
    """The slice itself where it lies in one piece."""
    view = ctx.input(0)[data.index]
    return bind_view(ctx, 0, 0, view, data.shape)


OP = OpSpec(
    "STRIDED_SLICE",
    prepare,
    evaluate,
    OpData(lp64=84, ilp32=84),
    params="TfLiteStridedSliceParams",
    bind=bind,
)
