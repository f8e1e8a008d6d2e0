"""SLICE: output = input[begin : begin + size], axis by axis.

Shapes: input of 0 to 5 dimensions; `begin` and `size` hold an int32 or int64 for each dimension, a
size of -1 reaches to the end. Both may be computed; the output's declared size must be the slice's.
Quantization: float32, int8, int16, int32 and bool; bytes are copied.
Differs: a slice that leaves the input, or has another size than the output, is refused, before the
run where the indices are constant; TFLM would read and write outside the tensors.
Source: `tensorflow/lite/micro/kernels/slice.cc`,
`tensorflow/lite/kernels/internal/reference/slice.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._movement import bind_view, distinct_rows, require_same_type
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType, Tensor

_TYPES = (DType.FLOAT32, DType.INT32, DType.INT8, DType.INT16, DType.BOOL)
_MAX_RANK = 5


@dataclass(frozen=True)
class Slice:
    """`index` is None where the graph computes begin or size."""

    shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    index: tuple[slice, ...] | None


def prepare(ctx: PrepareContext) -> Slice:
    """Resolve constant indices."""
    ctx.require(len(ctx.node.inputs) == 3, "must have 3 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, begin, size, output = ctx.input(0), ctx.input(1), ctx.input(2), ctx.output(0)
    rank = len(x.shape)
    ctx.require_shape(rank <= _MAX_RANK, f"input must have at most {_MAX_RANK} dimensions", rank)
    ctx.require_type("begin", begin, DType.INT32, DType.INT64)
    ctx.require_shape(size.dtype is begin.dtype, "size must have begin's type", size.dtype)
    for what, tensor in (("begin", begin), ("size", size)):
        ctx.require_shape(
            tensor.elements >= rank, f"{what} must hold {rank} values", tensor.elements
        )
    ctx.require_type("input", x, *_TYPES)
    require_same_type(ctx, x, output)
    if not (begin.is_constant and size.is_constant):
        return Slice(x.shape, output.shape, None)
    index = _index(x.shape, output.elements, _values(begin, rank), _values(size, rank))
    ctx.require_shape(
        index is not None,
        f"the slice must lie inside {list(x.shape)} and hold {output.elements} values",
        f"begin {_values(begin, rank)}, size {_values(size, rank)}",
    )
    return Slice(x.shape, output.shape, index)


def _values(tensor: Tensor, rank: int) -> list[int]:
    """Constant indices; TFLM keeps the low 32 bits of int64 ones."""
    return tensor.array().reshape(-1)[:rank].astype(np.int32).tolist()


def _index(
    shape: tuple[int, ...], elements: int, begin: list[int], size: list[int]
) -> tuple[slice, ...] | None:
    """NumPy's index of one vector, None where the slice does not fit."""
    stops = [
        full if length == -1 else start + length
        for full, start, length in zip(shape, begin, size, strict=True)
    ]
    spans = list(zip(shape, begin, stops, strict=True))
    inside = all(0 <= start <= stop <= full for full, start, stop in spans)
    if not inside or math.prod(stop - start for _, start, stop in spans) != elements:
        return None
    return tuple(slice(start, stop) for _, start, stop in spans)


def evaluate(ctx: EvalContext, data: Slice) -> None:
    """Copy the slice; rows with different indices one group after the other."""
    x = ctx.input(0)
    if data.index is not None:
        values = np.ascontiguousarray(x[(slice(None), *data.index)])
        ctx.set_output(0, values.reshape(x.shape[0], *data.output_shape))
        return
    rank = len(data.shape)
    begin, size = (ctx.input(i).reshape(-1, ctx.input(i)[0].size)[:, :rank] for i in (1, 2))
    groups = distinct_rows(ctx.batch, [begin.astype(np.int32), size.astype(np.int32)])
    x = np.broadcast_to(x, (ctx.batch, *data.shape))
    out = np.empty((ctx.batch, *data.output_shape), x.dtype)
    for values, rows in groups:
        index = _index(data.shape, out[0].size, list(values[:rank]), list(values[rank:]))
        if index is None:
            raise UsageError(
                f"SLICE must lie inside {list(data.shape)} and hold {out[0].size} values: "
                f"begin {list(values[:rank])}, size {list(values[rank:])}",
                hint="TFLM does not check this and would read outside the tensor",
            )
        part = x[rows][(slice(None), *index)]
        out[rows] = part.reshape(part.shape[0], *data.output_shape)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: Slice) -> list[Step] | None:
    """The slice itself where it is known and lies in one piece."""
    if data.index is None:
        return None
    return bind_view(ctx, 0, 0, ctx.input(0)[(slice(None), *data.index)], data.output_shape)


OP = OpSpec("SLICE", prepare, evaluate, bind=bind)
