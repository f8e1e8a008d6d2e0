"""GATHER: output[b, o, c, i] = input[b, o, positions[b, c], i].

Shapes: input (batch dimensions, outer, axis, inner), positions (batch dimensions, coordinates...);
the output's shape is the input's with the axis replaced by the coordinates. `axis` and `batch_dims`
may be negative, `batch_dims` then counts from the end of the positions' dimensions.
Quantization: float32 and int8, positions int32; bytes are copied.
Persistent: the output's dimensions, 4 + 4 * rank bytes.
Differs: an output of another shape or type than this is refused, TFLM replaces its shape;
positions outside the axis are refused, before or during the run, TFLM would read outside the input.
Source: `tensorflow/lite/micro/kernels/gather.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.ops._movement import positive_axis, require_indices, require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


@dataclass(frozen=True)
class Gather:
    """The input seen as (batch, outer, axis, inner), the positions as (batch, coordinates)."""

    input_shape: tuple[int, int, int, int]
    coordinates: int
    output_shape: tuple[int, ...]
    computed_positions: bool


def prepare(ctx: PrepareContext) -> Gather:
    """Check axes, then the output's shape."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, positions, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("positions", positions, DType.INT32)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    axis = positive_axis(ctx, ctx.options.get("axis", 0), len(x.shape))
    batch_dims = _batch_dims(ctx, x, positions, axis)
    ctx.persistent(4 + 4 * len(output.shape))
    shape = x.shape[:axis] + positions.shape[batch_dims:] + x.shape[axis + 1 :]
    ctx.require_shape(
        output.shape == shape, f"output must have shape {list(shape)}", list(output.shape)
    )
    require_same_type(ctx, x, output)
    if positions.is_constant:
        _check_constant(ctx, positions, x.shape[axis])
    return Gather(
        (
            math.prod(x.shape[:batch_dims]),
            math.prod(x.shape[batch_dims:axis]),
            x.shape[axis],
            math.prod(x.shape[axis + 1 :]),
        ),
        math.prod(positions.shape[batch_dims:]),
        output.shape,
        not positions.is_constant,
    )


def _batch_dims(ctx: PrepareContext, x: Tensor, positions: Tensor, axis: int) -> int:
    given = ctx.options.get("batch_dims", 0)
    batch_dims = given + len(positions.shape) if given < 0 else given
    ctx.require(batch_dims <= axis, f"batch_dims must be at most the axis, {axis}", given)
    ctx.require(
        0 <= batch_dims <= len(positions.shape),
        f"batch_dims must be inside the positions' {len(positions.shape)} dimensions",
        given,
    )
    ctx.require(
        x.shape[:batch_dims] == positions.shape[:batch_dims],
        f"input and positions must agree in the first {batch_dims} dimensions",
        f"{list(x.shape)} and {list(positions.shape)}",
    )
    return batch_dims


def _check_constant(ctx: PrepareContext, positions: Tensor, size: int) -> None:
    values = positions.array()
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    ctx.require_shape(
        low >= 0 and high < size,
        f"positions must be at least 0 and below {size}",
        low if low < 0 else high,
    )


def evaluate(ctx: EvalContext, data: Gather) -> None:
    """Copy rows of `inner` values."""
    x, positions = ctx.input(0), ctx.input(1)
    groups, outer, size, inner = data.input_shape
    if data.computed_positions:
        require_indices("GATHER", positions, size)
    rows = x.reshape(x.shape[0], groups, outer, size, inner)
    if positions.shape[0] == 1 and groups == 1:
        out = rows.take(positions.reshape(-1), axis=3)
    else:
        batch = max(x.shape[0], positions.shape[0])
        where = positions.reshape(-1, groups, 1, data.coordinates)
        row = np.arange(batch).reshape(-1, 1, 1, 1) if x.shape[0] > 1 else 0
        group = np.arange(groups).reshape(1, -1, 1, 1)
        out = rows[row, group, np.arange(outer).reshape(1, 1, -1, 1), where]
    ctx.set_output(0, out.reshape(out.shape[0], *data.output_shape))


OP = OpSpec("GATHER", prepare, evaluate, params="TfLiteGatherParams")
