"""Where values that are carried between parts lie, and the arenas: all in one buffer.

Each part has two times: 2k before it runs, while its inputs lie ready, and 2k + 1 after it, when
its outputs have been copied out. The arena of part k is there at both, and clear of all that is
carried at either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.transform._packing import Item, live_bound, pack

TIME_LIMIT_S = 3.0
"""For one layout."""


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
    def item(self) -> Item:
        """The value as something to pack."""
        return Item(align(self.bytes, BUFFER_ALIGNMENT_BYTES), self.first, self.last)


@dataclass(frozen=True)
class Layout:
    """Places of all carried values and arenas.

    Attributes:
        carried: with offsets.
        starts: by part, where its arena begins.
        total_bytes: the whole buffer.
        lower_bound_bytes: no layout of these parts takes less.
        carried_bytes: the most that is carried at one time.
    """

    carried: tuple[Carried, ...]
    starts: tuple[int, ...]
    total_bytes: int
    lower_bound_bytes: int
    carried_bytes: int


def lay_out(values: Sequence[Carried], required: Sequence[int]) -> Layout:
    """The smallest buffer that can be found.

    Args:
        values: what is carried; offsets are ignored.
        required: the arena that each part requires, in bytes.
    """
    arenas = [Item(size, 2 * part, 2 * part + 1) for part, size in enumerate(required)]
    solid = [value for value in values if value.bytes]
    items = [value.item for value in solid]
    packing = pack([*arenas, *items], time_limit_s=TIME_LIMIT_S, tick=lambda done, total: None)
    offsets = dict(zip(solid, packing.offsets[len(arenas) :], strict=True))
    return Layout(
        tuple(dataclasses.replace(value, offset=offsets.get(value, 0)) for value in values),
        packing.offsets[: len(arenas)],
        packing.height_bytes,
        packing.lower_bound_bytes,
        live_bound(items),
    )
