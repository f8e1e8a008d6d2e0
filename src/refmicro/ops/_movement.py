"""What operators that only move values share: axes, constant indices, cutting and joining.

No value is computed here; every operator that uses this copies elements as they are.
Arrays handed on are contiguous copies, so that compiled kernels downstream see one layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._spec import BindContext, EvalContext, PrepareContext, Step
from refmicro.types import DType, Tensor


def int32_words(ctx: PrepareContext, what: str, tensor: Tensor, count: int) -> tuple[int, ...]:
    """The first `count` 32-bit words of a constant, as `GetTensorData<int32_t>` reads them.

    TFLM looks at the bytes without looking at the tensor's type; a constant that is too short is
    refused as malformed.
    """
    ctx.require(tensor.is_constant, f"{what} must be constant", "a computed tensor")
    data = tensor.data
    ctx.require_shape(
        len(data) >= 4 * count, f"{what} must hold {count} int32 values", f"{len(data)} bytes"
    )
    return tuple(np.frombuffer(data, "<i4", count).tolist())


def require_same_type(ctx: PrepareContext, x: Tensor, output: Tensor) -> None:
    """TFLM does not compare the two types and would read one as the other."""
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )


def positive_axis(ctx: PrepareContext, axis: int, rank: int, *, malformed: bool = False) -> int:
    """The axis counted from the front; `malformed` where TFLM does not check its range."""
    positive = axis + rank if axis < 0 else axis
    if not 0 <= positive < rank:
        ctx.refuse(f"axis must be inside {rank} dimensions", f"axis {axis}", malformed=malformed)
    return positive


def require_indices(name: str, indices: np.ndarray, size: int) -> None:
    """Indices known only at run time must lie inside 0..size-1: TFLM reads what is there.

    Raises:
        UsageError: some index lies outside.
    """
    outside = (indices < 0) | (indices >= size)
    if outside.any():
        found = int(indices[outside].flat[0])
        raise UsageError(
            f"{name} indices must be at least 0 and below {size}: found {found}",
            hint="TFLM does not check them and would read outside the tensor",
        )


@dataclass(frozen=True, eq=False)
class Parts:
    """A tensor seen as (outer, sum of sizes, inner), in pieces along the middle.

    Attributes:
        outer, inner: elements in front of and behind the axis.
        sizes: length of each piece along the axis.
        shapes: shape of each piece's tensor.
        whole: shape of the tensor that the pieces make.
    """

    outer: int
    inner: int
    sizes: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    whole: tuple[int, ...]

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """First index and end of each piece along the axis."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(zip([0, *ends[:-1]], ends, strict=True))


def parts_along(
    ctx: PrepareContext, whole: Tensor, axis: int, sizes: Sequence[int], pieces: Sequence[Tensor]
) -> Parts:
    """Pieces of `sizes` along `axis` of `whole`; every piece must hold just its elements."""
    outer, inner = math.prod(whole.shape[:axis]), math.prod(whole.shape[axis + 1 :])
    ctx.require_shape(
        sum(sizes) == whole.shape[axis],
        f"the pieces must fill dimension {axis} of size {whole.shape[axis]}",
        f"{sum(sizes)}",
    )
    for number, (size, piece) in enumerate(zip(sizes, pieces, strict=True)):
        ctx.require_shape(
            piece.elements == outer * size * inner,
            f"piece {number} must hold {outer * size * inner} values",
            f"{piece.elements}",
        )
        require_same_type(ctx, piece, whole)
    return Parts(outer, inner, tuple(sizes), tuple(p.shape for p in pieces), whole.shape)


def evaluate_same(ctx: EvalContext, shape: tuple[int, ...]) -> None:
    """Output 0 is input 0 in another shape: a view, no values move."""
    x = ctx.input(0)
    ctx.set_output(0, x.reshape(x.shape[0], *shape))


def bind_same(ctx: BindContext, shape: tuple[int, ...]) -> list[Step]:
    """The same memory."""
    return bind_view(ctx, 0, 0, ctx.input(0), shape)


def bind_view(
    ctx: BindContext, index: int, source: int, view: np.ndarray, shape: tuple[int, ...]
) -> list[Step]:
    """Output `index`, of shape (B, *shape), is a view of input `source`, or copied from it."""
    if view.flags.c_contiguous and view.shape[0] in (1, ctx.rows):
        ctx.place(index, source, view.reshape(view.shape[0], *shape))
        return []
    return [(np.copyto, (ctx.output(index).reshape(ctx.rows, *view.shape[1:]), view))]


def bind_cut(ctx: BindContext, source: int, parts: Parts) -> list[Step]:
    """`cut` of input `source`, bound."""
    x = ctx.input(source)
    rows = x.reshape(x.shape[0], parts.outer, -1, parts.inner)
    places = zip(parts.bounds, parts.shapes, strict=True)
    return [
        step
        for index, ((start, end), shape) in enumerate(places)
        for step in bind_view(ctx, index, source, rows[:, :, start:end], shape)
    ]


def bind_join(ctx: BindContext, pieces: Sequence[np.ndarray], parts: Parts) -> list[Step]:
    """`join`, bound."""
    out = ctx.output(0).reshape(ctx.rows, parts.outer, sum(parts.sizes), parts.inner)
    return [
        (np.copyto, (out[:, :, start:end], piece.reshape(len(piece), parts.outer, -1, parts.inner)))
        for piece, (start, end) in zip(pieces, parts.bounds, strict=True)
    ]


def cut(ctx: EvalContext, x: np.ndarray, parts: Parts) -> None:
    """Set one output a piece of `x`."""
    rows = x.reshape(x.shape[0], parts.outer, -1, parts.inner)
    for index, ((start, end), shape) in enumerate(zip(parts.bounds, parts.shapes, strict=True)):
        piece = np.ascontiguousarray(rows[:, :, start:end])
        ctx.set_output(index, piece.reshape(x.shape[0], *shape))


def join(ctx: EvalContext, pieces: Sequence[np.ndarray], parts: Parts) -> None:
    """Set output 0 to the pieces put together."""
    batch = max(piece.shape[0] for piece in pieces)
    out = np.empty((batch, parts.outer, sum(parts.sizes), parts.inner), pieces[0].dtype)
    for piece, (start, end) in zip(pieces, parts.bounds, strict=True):
        out[:, :, start:end] = piece.reshape(piece.shape[0], parts.outer, end - start, parts.inner)
    ctx.set_output(0, out.reshape(batch, *parts.whole))


def known_or_computed(
    ctx: PrepareContext, what: str, tensor: Tensor, count: int
) -> tuple[int, ...] | None:
    """`count` int32 parameters if they are constant, None where the graph computes them."""
    if tensor.is_constant:
        return int32_words(ctx, what, tensor, count)
    ctx.require_shape(
        tensor.dtype is DType.INT32 and tensor.elements >= count,
        f"{what} must be {count} int32 values",
        f"{tensor.dtype}{list(tensor.shape)}",
    )
    return None


def distinct_rows(
    batch: int, parameters: Sequence[np.ndarray]
) -> list[tuple[tuple[int, ...], np.ndarray | slice]]:
    """Rows of a batch by the parameters that the graph computed for them.

    Args:
        batch: number of rows.
        parameters: integer arrays with B or 1 rows.

    Returns:
        All parameters of a group as one tuple, and its rows; mostly there is one group.
    """
    flat = [np.broadcast_to(p.reshape(p.shape[0], -1), (batch, p[0].size)) for p in parameters]
    joined = np.concatenate(flat, axis=1, dtype=np.int64)
    if (joined == joined[:1]).all():
        return [(tuple(joined[0].tolist()), slice(None))]
    values, group = np.unique(joined, axis=0, return_inverse=True)
    rows = (np.flatnonzero(group.reshape(-1) == i) for i in range(len(values)))
    return [(tuple(v.tolist()), r) for v, r in zip(values, rows, strict=True)]
