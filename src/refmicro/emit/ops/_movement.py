"""What operators share that move values: strided copies."""

from __future__ import annotations

from collections.abc import Sequence

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._nest import contiguous, loops, nest
from refmicro.emit.unit import Op, Operand
from refmicro.ops._movement import Parts


def emit_strided(
    op: Op,
    source: Operand,
    target: Operand,
    extents: Sequence[int],
    strides: tuple[Sequence[int], Sequence[int]],
    offsets: tuple[int, int] = (0, 0),
) -> None:
    """Copies values; strides and offsets count elements, of the source first."""
    found = loops(extents, strides)
    body = nest(found, lambda i, o: f"output[{o}] = input[{i}];", offsets)
    op.kernel([parameter(source, "input"), parameter(target, "output", write=True)], body)


def emit_view(op: Op) -> None:
    """The output is the input's bytes under another shape."""
    source, target = op.input(0), op.output()
    op.is_view = True
    op.copy(source, target, target.tensor.nbytes)


def emit_joined(op: Op, parts: Parts, sources: Sequence[Operand]) -> None:
    """Output 0 is the inputs put together along the middle of (outer, sizes, inner)."""
    row = sum(parts.sizes) * parts.inner
    for (start, end), source in zip(parts.bounds, sources, strict=True):
        size = (end - start) * parts.inner
        extents = (parts.outer, size)
        emit_strided(
            op, source, op.output(), extents, ((size, 1), (row, 1)), (0, start * parts.inner)
        )


def emit_cut(op: Op, parts: Parts, source: Operand) -> None:
    """Each output is a piece along the middle of (outer, sizes, inner)."""
    row = sum(parts.sizes) * parts.inner
    for index, (start, end) in enumerate(parts.bounds):
        size = (end - start) * parts.inner
        extents = (parts.outer, size)
        emit_strided(
            op, source, op.output(index), extents, ((row, 1), (size, 1)), (start * parts.inner, 0)
        )


def emit_slice(op: Op, source: Operand, starts: Sequence[int], steps: Sequence[int]) -> None:
    """output[i...] = input[start + i * step...]; `source` has as many dimensions as `starts`."""
    shape = source.tensor.shape
    outer = contiguous(shape)
    extents = op.output().tensor.shape
    offset = sum(start * stride for start, stride in zip(starts, outer, strict=True))
    strides = [step * stride for step, stride in zip(steps, outer, strict=True)]
    emit_strided(op, source, op.output(), extents, (strides, contiguous(extents)), (offset, 0))
