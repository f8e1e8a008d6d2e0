"""Where values lie that are carried between parts: one buffer, them below and the arena above.

Each part has two times: 2k before it runs, while its inputs lie ready, and 2k + 1 after it, when
its outputs have been copied out. The arena of part k begins above all that is carried at either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align


@dataclass(frozen=True)
class Carried:
    """One value that outlives a part.

    Attributes:
        tensor: in the source's main subgraph.
        bytes: its size.
        first, last: times at which it must be there, both inclusive.
        offset: from the buffer's start.
    """

    tensor: int
    bytes: int
    first: int
    last: int
    offset: int = 0

    @property
    def slot_bytes(self) -> int:
        """Its size in the buffer."""
        return align(self.bytes, BUFFER_ALIGNMENT_BYTES)


@dataclass(frozen=True)
class Layout:
    """Places of all carried values.

    Attributes:
        carried: with offsets.
        starts: by part, where its arena begins.
        total_bytes: the whole buffer.
    """

    carried: tuple[Carried, ...]
    starts: tuple[int, ...]
    total_bytes: int


_Order = Callable[[Carried], tuple[int, ...]]

_ORDERS: tuple[_Order, ...] = (
    lambda item: (item.slot_bytes, item.first, item.tensor),
    lambda item: (item.last - item.first, item.slot_bytes, item.tensor),
    lambda item: (-item.first, item.last, item.slot_bytes, item.tensor),
    lambda item: (item.last, -item.first, item.slot_bytes, item.tensor),
)
"""The largest first, the longest, the earliest, and what must be kept to the end."""


def lay_out(values: Sequence[Carried], required: Sequence[int]) -> Layout:
    """The best of some first-fit layouts: the smallest buffer, then the lowest arenas.

    Args:
        values: what is carried; offsets are ignored.
        required: the arena that each part requires, in bytes.
    """
    layouts = [_laid(sorted(values, key=order, reverse=True), required) for order in _ORDERS]
    best = min(layouts, key=lambda item: (item.total_bytes, sum(item.starts)))
    return dataclasses.replace(best, carried=tuple(sorted(best.carried, key=lambda c: c.tensor)))


def _laid(values: Sequence[Carried], required: Sequence[int]) -> Layout:
    placed: list[Carried] = []
    for item in values:
        placed.append(dataclasses.replace(item, offset=_first_fit(placed, item)))
    starts = []
    for part in range(len(required)):
        there = [c for c in placed if c.first <= 2 * part + 1 and c.last >= 2 * part]
        starts.append(max((c.offset + c.slot_bytes for c in there), default=0))
    total = max((a + b for a, b in zip(starts, required, strict=True)), default=0)
    return Layout(tuple(placed), tuple(starts), total)


def _first_fit(placed: Sequence[Carried], item: Carried) -> int:
    """The lowest offset at which a value keeps clear of those that are there with it."""
    offset = 0
    for other in sorted(placed, key=lambda c: c.offset):
        if other.first > item.last or other.last < item.first:
            continue
        if other.offset - offset >= item.slot_bytes:
            break
        offset = max(offset, other.offset + other.slot_bytes)
    return offset
