"""DYNAMIC_UPDATE_SLICE: the operand with a part replaced by the update.

Shapes: operand of 1 to 6 dimensions, update of as many and no larger; `start_indices` is a
vector of int32 or int64, one for each dimension, computed or constant, which is moved so that the
update lies inside. The output is like the operand.
Quantization: float32, int8, int16 and int32; bytes are copied.
Differs: an output of another size or type is refused; TFLM would write past its end.
Source: `tensorflow/lite/micro/kernels/dynamic_update_slice.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._movement import distinct_rows, require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_MAX_RANK = 6


@dataclass(frozen=True)
class Update:
    """Shapes of one vector."""

    shape: tuple[int, ...]
    update_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Update:
    """Check types and shapes."""
    ctx.require(len(ctx.node.inputs) == 3, "must have 3 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    operand, update, start, output = ctx.input(0), ctx.input(1), ctx.input(2), ctx.output(0)
    ctx.require(
        operand.dtype is update.dtype,
        "operand and update must have one type",
        f"{operand.dtype} and {update.dtype}",
    )
    _check_indices(ctx, operand, start)
    ctx.require(
        len(update.shape) == len(operand.shape)
        and all(u <= o for u, o in zip(update.shape, operand.shape, strict=True)),
        f"update must have no dimension above the operand's {list(operand.shape)}",
        list(update.shape),
    )
    ctx.require_type("operand", operand, DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32)
    ctx.require_shape(
        output.elements == operand.elements,
        f"output must hold {operand.elements} values",
        output.elements,
    )
    require_same_type(ctx, operand, output)
    return Update(operand.shape, update.shape, output.shape)


def _check_indices(ctx: PrepareContext, operand: Tensor, start: Tensor) -> None:
    ctx.require_type("start_indices", start, DType.INT32, DType.INT64)
    ctx.require(
        start.shape == (len(operand.shape),),
        f"start_indices must have shape [{len(operand.shape)}]",
        list(start.shape),
    )
    ctx.require(
        1 <= len(operand.shape) <= _MAX_RANK,
        f"operand must have 1 to {_MAX_RANK} dimensions",
        len(operand.shape),
    )


def evaluate(ctx: EvalContext, data: Update) -> None:
    """Copy both; rows with different indices one group after the other."""
    operand, update, start = ctx.input(0), ctx.input(1), ctx.input(2)
    if update[0].size == operand[0].size:
        ctx.set_output(0, update.reshape(update.shape[0], *data.output_shape))
        return
    if update[0].size == 0:
        ctx.set_output(0, operand.reshape(operand.shape[0], *data.output_shape))
        return
    batch = max(operand.shape[0], update.shape[0], start.shape[0])
    out = np.empty((batch, *data.shape), operand.dtype)
    out[:] = operand
    update = np.broadcast_to(update, (batch, *data.update_shape))
    for first, rows in distinct_rows(batch, [start]):
        spans = zip(data.shape, data.update_shape, first, strict=True)
        low = [(min(max(0, at), full - size), size) for full, size, at in spans]
        out[(rows, *(slice(at, at + size) for at, size in low))] = update[rows]
    ctx.set_output(0, out.reshape(batch, *data.output_shape))


OP = OpSpec("DYNAMIC_UPDATE_SLICE", prepare, evaluate)
