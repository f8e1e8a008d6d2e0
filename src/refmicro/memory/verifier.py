"""Judges a memory plan, whoever made it, by lifetimes, sizes and offsets alone.

It knows no planner and shares no code with one. Two buffers that live at one time must not share a
byte, offsets must be aligned, and every buffer must lie inside the head. A plan that aliases on
purpose (an elementwise operator that writes over its own input) shows as overlaps that the caller
may allow.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from refmicro.memory.arena import Arena
from refmicro.model.graph import Model

ALIGNMENT_BYTES = 16


class Placement(NamedTuple):
    """A buffer in a plan. Times are steps, both ends inclusive; sizes and offsets are bytes."""

    name: str
    size_bytes: int
    offset: int
    first_time_used: int
    last_time_used: int


@dataclass(frozen=True)
class Conflict:
    """One fault of a plan; the text of it is `str(conflict)`.

    `kind` is `overlap`, `alignment` or `outside`; `buffers` are the names concerned.
    """

    kind: str
    buffers: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text


def find_conflicts(
    placements: Iterable[Placement],
    head_bytes: int,
    *,
    allowed: Container[frozenset[str]] = (),
) -> list[Conflict]:
    """Every fault of a plan, in order of time and name.

    Args:
        placements: all buffers of the plan.
        head_bytes: size of the memory that the plan may use.
        allowed: pairs of names that may overlap.
    """
    conflicts: list[Conflict] = []
    live: list[Placement] = []
    for new in sorted(placements, key=lambda item: (item.first_time_used, item.name)):
        conflicts += _alone(new, head_bytes)
        live = [old for old in live if old.last_time_used >= new.first_time_used]
        for old in live:
            apart = old.offset + old.size_bytes <= new.offset or (
                new.offset + new.size_bytes <= old.offset
            )
            empty = old.size_bytes == 0 or new.size_bytes == 0
            if not apart and not empty and frozenset((old.name, new.name)) not in allowed:
                conflicts.append(_overlap(old, new))
        live.append(new)
    return conflicts


def _alone(item: Placement, head_bytes: int) -> list[Conflict]:
    found = []
    if item.offset % ALIGNMENT_BYTES:
        text = f"{item.name} must start at a multiple of {ALIGNMENT_BYTES}: {item.offset}"
        found.append(Conflict("alignment", (item.name,), text))
    end = item.offset + item.size_bytes
    if item.offset < 0 or end > head_bytes:
        text = f"{item.name} must lie within {head_bytes} bytes: {item.offset} to {end}"
        found.append(Conflict("outside", (item.name,), text))
    return found


def _overlap(old: Placement, new: Placement) -> Conflict:
    low = max(old.offset, new.offset)
    high = min(old.offset + old.size_bytes, new.offset + new.size_bytes)
    last = min(old.last_time_used, new.last_time_used)
    text = (
        f"{old.name} and {new.name} must not share memory while both live: bytes {low} to {high} "
        f"in steps {new.first_time_used} to {last}"
    )
    return Conflict("overlap", (old.name, new.name), text)


def tensor_name(subgraph: int, index: int) -> str:
    """How placements name a tensor."""
    return f"tensor {subgraph}:{index}"


def placements(arena: Arena, model: Model) -> list[Placement]:
    """The buffers of a model's arena; a variable in the head must live all the time."""
    found = []
    end = len(arena.live_bytes) - 1
    for graph, tensors in enumerate(arena.tensors):
        for index, tensor in enumerate(tensors):
            if tensor.offset is None:
                continue
            keeps = model.subgraphs[graph].tensors[index].is_variable
            first, last = (0, end) if keeps else tensor[2:]
            name = tensor_name(graph, index)
            found.append(Placement(name, tensor.bytes, tensor.offset, first, last))
    for (graph, operator), buffers in arena.scratch.items():
        for index, buffer in enumerate(buffers):
            name = f"scratch {graph}:{operator}:{index}"
            found.append(Placement(name, *buffer))
    return found
