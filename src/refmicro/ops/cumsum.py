"""CUMSUM: output[i] = the sum of x[0..i] along an axis, without x[i] if exclusive.

`reverse` sums from the end.

Shapes: output has the input's shape, at least 1 dimension; axis is one int32, computed or constant.
Quantization: int8, sums wrap in int32; float32, summed in order.
Persistent: 36 bytes for int8.
Differs: where TFLM ends the program (scales of 0, a ratio of 2^19 or more) the model is refused.
Source: `tensorflow/lite/micro/kernels/cumsum.cc`,
`tensorflow/lite/kernels/internal/reference/cumsum.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.ops._elementwise import MAX_RANK, require_counts, require_rank, require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.ops._sum import ManySum
from refmicro.types import DType

_OP_DATA_BYTES = 36


@dataclass(frozen=True)
class Cumsum:
    """What eval needs; `quantized` is None for float32."""

    rank: int
    exclusive: bool
    reverse: bool
    quantized: ManySum | None


def prepare(ctx: PrepareContext) -> Cumsum:
    """Check types, shapes and a constant axis, derive the multiplier."""
    require_counts(ctx, 2)
    x, axis = ctx.input(0), ctx.input(1)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    ctx.require_type("axis", axis, DType.INT32)
    ctx.require(axis.elements == 1, "axis must have 1 element", axis.elements)
    rank = len(x.shape)
    ctx.require(rank >= 1, "the input must have at least 1 dimension", x.shape)
    output = ctx.output(0)
    require_same_type(ctx, x, output)
    require_rank(ctx, MAX_RANK, x)
    ctx.require(
        x.shape == output.shape,
        "input and output must have the same shape",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    if axis.is_constant:
        value = int(axis.array().reshape(-1)[0])
        ctx.require(-rank <= value < rank, f"axis must be in {-rank}..{rank - 1}", value)
    quantized = None
    if x.dtype is DType.INT8:
        ctx.persistent(_OP_DATA_BYTES)
        quantized = ManySum.of(ctx, x, output)
    exclusive, reverse = (bool(ctx.options.get(name, False)) for name in ("exclusive", "reverse"))
    return Cumsum(rank, exclusive, reverse, quantized)


def evaluate(ctx: EvalContext, data: Cumsum) -> None:
    """Rows of the batch with the same axis together.

    Raises:
        UnsupportedError: for a computed axis out of range; TFLM's Invoke returns an error.
    """
    x, axes = ctx.input(0), ctx.input(1)
    axes = axes.reshape(axes.shape[0])
    rank = data.rank
    if axes.min() < -rank or axes.max() >= rank:
        raise UnsupportedError(f"CUMSUM: axis must be in {-rank}..{rank - 1}: {axes.tolist()}")
    axes = np.where(axes < 0, axes + rank, axes)
    if (axes == axes[0]).all():
        ctx.set_output(0, _along(data, x, int(axes[0])))
        return
    x = np.broadcast_to(x, (len(axes), *x.shape[1:]))
    out = np.empty_like(x)
    for axis in np.unique(axes):
        out[axes == axis] = _along(data, x[axes == axis], int(axis))
    ctx.set_output(0, out)


def _along(data: Cumsum, x: np.ndarray, axis: int) -> np.ndarray:
    """The sums along dimension `axis` of one vector, which is axis + 1 of the batch."""
    values = np.moveaxis(x, axis + 1, 0)
    if data.reverse:
        values = values[::-1]
    start = 0 if data.quantized is None else data.quantized.start
    if data.quantized is not None:
        values = data.quantized.scaled(values)
    first = np.full((1, *values.shape[1:]), start, values.dtype)
    with np.errstate(all="ignore"):
        sums = np.add.accumulate(np.concatenate([first, values]), axis=0, dtype=values.dtype)
    sums = sums[:-1] if data.exclusive else sums[1:]
    if data.reverse:
        sums = sums[::-1]
    sums = np.moveaxis(sums, 0, axis + 1)
    return sums if data.quantized is None else data.quantized.outputs(sums)


OP = OpSpec("CUMSUM", prepare, evaluate, params="TfLiteCumsumParams")
