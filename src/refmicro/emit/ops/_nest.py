"""Nested loops over tensors that are walked through with strides, as few loops as they need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

INDICES = "ijlmnpqst"


class Loop(NamedTuple):
    """How often it runs, and what one turn adds to each operand's index."""

    extent: int
    strides: tuple[int, ...]


def contiguous(shape: Sequence[int]) -> list[int]:
    """Strides of a tensor in row-major order, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def broadcast(shape: Sequence[int], rank: int) -> list[int]:
    """Strides of a tensor that is broadcast to `rank` dimensions: 0 where its size is 1."""
    shape = (1,) * (rank - len(shape)) + tuple(shape)
    steps = zip(shape, contiguous(shape), strict=True)
    return [0 if size == 1 else step for size, step in steps]


def loops(extents: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Loop]:
    """Loops from the outermost in; neighbours that all operands walk through evenly are one."""
    found: list[Loop] = []
    for axis, extent in enumerate(extents):
        if extent == 1:
            continue
        steps = tuple(operand[axis] for operand in strides)
        if found:
            outer = found[-1]
            if all(a == extent * b for a, b in zip(outer.strides, steps, strict=True)):
                found[-1] = Loop(outer.extent * extent, steps)
                continue
        found.append(Loop(extent, steps))
    return found


def index(nest: Sequence[Loop], operand: int, offset: int = 0) -> str:
    """The index of an operand inside all loops."""
    terms = []
    for name, loop in zip(INDICES, nest, strict=False):
        step = loop.strides[operand]
        if step:
            terms.append(name if step == 1 else f"{step} * {name}")
    text = " + ".join(terms).replace("+ -", "- ")
    if offset or not terms:
        return f"{offset} + {text}" if terms else str(offset)
    return text


def nest(found: Sequence[Loop], body: Callable[..., str], offsets: Sequence[int]) -> str:
    """C text of the loops around `body`, which gets the index of each operand."""
    indices = [index(found, operand, offset) for operand, offset in enumerate(offsets)]
    text = body(*indices)
    for name, loop in reversed(list(zip(INDICES, found, strict=False))):
        inner = "\n".join(f"    {line}" if line else "" for line in text.split("\n"))
        text = f"for (int {name} = 0; {name} < {loop.extent}; {name}++) {{\n{inner}\n}}"
    return text
