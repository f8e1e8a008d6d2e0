"""TFLM's greedy memory planner: the same offset for every buffer, found with less work.

The rule: buffers with an offline offset are placed first, in order. All others follow by size, the
largest first, and of equal ones the one with the higher index first. Each goes to the lowest offset
at which it fits between the buffers already placed whose lifetimes overlap its own (both ends
inclusive). TFLM walks a list of all placed buffers for each new one; here an interval tree over
time gives only those that overlap, so a plan costs O(n log n) where few buffers live at one time.
Where thousands do, all placed buffers are kept by offset in arrays, and one pass of NumPy over them
is what TFLM's walk is.

Source: `tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from refmicro.memory.offline_plan import ONLINE

TREE_VISITS_MAX = 1 << 17
"""Overlapping buffers looked at one by one until arrays take over."""


class Buffer(NamedTuple):
    """One buffer to plan. Sizes and offsets in bytes, times in steps, both ends inclusive."""

    size_bytes: int
    first_time_used: int
    last_time_used: int
    offline_offset: int = ONLINE


def greedy_plan(buffers: Sequence[Buffer]) -> list[int]:
    """The offset of each buffer, as `GreedyMemoryPlanner` places them in this order of adding."""
    offsets = [buffer.offline_offset for buffer in buffers]
    offline = [i for i, offset in enumerate(offsets) if offset != ONLINE]
    online = [i for i, offset in enumerate(offsets) if offset == ONLINE]
    online.reverse()
    online.sort(key=lambda i: -buffers[i].size_bytes)
    placed: _PlacedBuffers | _SortedBuffers = _PlacedBuffers(buffers)
    for index in offline:
        placed.add(buffers[index], offsets[index])
    visits = 0
    for count, index in enumerate(online):
        buffer = buffers[index]
        if visits > TREE_VISITS_MAX:
            known = [*offline, *online[:count]]
            placed, visits = _SortedBuffers(buffers, known, offsets), 0
        if isinstance(placed, _SortedBuffers):
            offset = placed.first_fit(buffer)
        else:
            overlapping = placed.overlapping(buffer)
            visits += len(overlapping)
            offset = _first_fit(overlapping, buffer.size_bytes)
        offsets[index] = offset
        placed.add(buffer, offset)
    return offsets


def plan_bytes(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """`GetMaximumMemorySize`: the end of the buffer that reaches highest."""
    return max((o + b.size_bytes for o, b in zip(offsets, buffers, strict=True)), default=0)


def _first_fit(placed: list[tuple[int, int]], size_bytes: int) -> int:
    """The lowest offset with room for `size_bytes` between (offset, end) pairs."""
    placed.sort()
    candidate = 0
    for offset, end in placed:
        if offset - candidate >= size_bytes:
            break
        if end > candidate:
            candidate = end
    return candidate


class _PlacedBuffers:
    """Placed buffers, findable by time: a segment tree of lifetimes and a list for each start.

    The buffers that overlap [first, last] are those alive at `first` (one path up the tree) and
    those that start after it, up to `last`.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._origin = min((b.first_time_used for b in buffers), default=0)
        steps = max((b.last_time_used for b in buffers), default=0) - self._origin + 1
        self._leaves = steps
        self._alive: list[list[tuple[int, int]]] = [[] for _ in range(2 * steps)]
        self._starting: list[list[tuple[int, int]]] = [[] for _ in range(steps)]

    def add(self, buffer: Buffer, offset: int) -> None:
        """Place a buffer."""
        item = (offset, offset + buffer.size_bytes)
        low = buffer.first_time_used - self._origin
        self._starting[low].append(item)
        high = buffer.last_time_used - self._origin + 1 + self._leaves
        low += self._leaves
        alive = self._alive
        while low < high:
            if low & 1:
                alive[low].append(item)
                low += 1
            if high & 1:
                high -= 1
                alive[high].append(item)
            low >>= 1
            high >>= 1

    def overlapping(self, buffer: Buffer) -> list[tuple[int, int]]:
        """(offset, end) of all placed buffers whose lifetimes overlap, in any order."""
        first = buffer.first_time_used - self._origin
        last = buffer.last_time_used - self._origin
        found: list[tuple[int, int]] = []
        node, alive = first + self._leaves, self._alive
        while node:
            found += alive[node]
            node >>= 1
        found.extend(chain.from_iterable(self._starting[first + 1 : last + 1]))
        return found


class _SortedBuffers:
    """Placed buffers by offset: rows of `values` are offset, end, first and last time."""

    def __init__(
        self, buffers: Sequence[Buffer], placed: Sequence[int], offsets: Sequence[int]
    ) -> None:
        """`placed` are the indices of those that have an offset."""
        self._values = np.zeros((4, len(buffers)), np.int64)
        self._count = len(placed)
        order = sorted(placed, key=offsets.__getitem__)
        for column, index in enumerate(order):
            self._values[:, column] = self._facts(buffers[index], offsets[index])

    @staticmethod
    def _facts(buffer: Buffer, offset: int) -> tuple[int, int, int, int]:
        end = offset + buffer.size_bytes
        return offset, end, buffer.first_time_used, buffer.last_time_used

    def first_fit(self, buffer: Buffer) -> int:
        """The lowest offset with room between those whose lifetimes overlap."""
        values = self._values[:, : self._count]
        meets = (values[2] <= buffer.last_time_used) & (values[3] >= buffer.first_time_used)
        starts, ends = values[0][meets], values[1][meets]
        reach = np.maximum.accumulate(np.concatenate([[0], ends]))
        room = starts - reach[:-1] >= buffer.size_bytes
        where = int(room.argmax()) if room.any() else len(starts)
        return int(reach[where])

    def add(self, buffer: Buffer, offset: int) -> None:
        """Place a buffer."""
        values, count = self._values, self._count
        place = int(np.searchsorted(values[0, :count], offset, "right"))
        values[:, place + 1 : count + 1] = values[:, place:count]
        values[:, place] = self._facts(buffer, offset)
        self._count = count + 1
