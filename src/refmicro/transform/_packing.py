"""Buffers packed into little memory: lowest fit in many orders, and an exact search.

A buffer has a size and a first and last step, both inclusive, and buffers that live at one time
must not share a byte. The largest sum of live sizes is a lower bound. Lowest fit takes the buffers
in some order and gives each the lowest place that is free through its life; some order gives an
optimal packing. The climb changes the order at the buffer that ends highest and keeps what is not
worse. Where it does not reach the bound, and the buffers are few, the exact search settles it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from refmicro._jit import jit

ITERATIONS = 30_000
"""Changes of order tried from one first order, for buffers up to `FULL_EFFORT_BUFFERS`."""

FULL_EFFORT_BUFFERS = 400
"""With more buffers there are as many fewer iterations as each takes longer."""

ROUND_ITERATIONS = 50
"""Iterations between two looks at the clock."""

EXACT_BUFFERS = 64
"""The exact search is not tried beyond."""

EXACT_NODES = 100_000
"""Placements that the exact search tries before it gives up."""

PLAIN_BUFFERS = 64
"""Up to so many buffers a single packing is made without compiled code."""

PATIENCE = 3_000
"""Iterations without gain after which the climb goes back to its best order."""

SLIP_PERMILLE = 3
"""How often a worse order is kept, so that the climb leaves a dead end."""

BLIND_PERCENT = 20
"""How often a buffer moves to any earlier place, not in front of one that it meets in time."""

NO_LIMIT = 1 << 60

Tick = Callable[[int, int], None]
"""Called as tick(iterations done, iterations) now and then."""


class Item(NamedTuple):
    """A buffer: bytes, first and last step, both inclusive."""

    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Packing:
    """Where the items are; `lower_bound_bytes` is proven, by sums or by the exact search."""

    offsets: tuple[int, ...]
    height_bytes: int
    lower_bound_bytes: int

    @property
    def optimal(self) -> bool:
        """Whether no packing is lower."""
        return self.height_bytes == self.lower_bound_bytes


def live_bound(items: Sequence[Item]) -> int:
    """The largest sum of sizes that live at one time."""
    change: dict[int, int] = {}
    for size, first, last in items:
        change[first] = change.get(first, 0) + size
        change[last + 1] = change.get(last + 1, 0) - size
    best = live = 0
    for step in sorted(change):
        live += change[step]
        best = max(best, live)
    return best


def pack(items: Sequence[Item], *, time_limit_s: float, tick: Tick) -> Packing:
    """A packing as low as the time allows.

    The result depends on the items alone unless the time runs out.

    Args:
        items: buffers with sizes above 0.
        time_limit_s: for climb and exact search; a first packing is always made.
        tick: called now and then.
    """
    bound = live_bound(items)
    if not items:
        return Packing((), 0, 0)
    deadline = time.process_time() + time_limit_s
    table = np.array(items, np.int64)
    best_height, best_offsets = -1, None
    firsts = sorted(
        (_lowest_fit(order, table) for order in _first_orders(items)), key=lambda item: item[0]
    )
    for height, offsets, order in firsts:
        if best_offsets is None:
            best_height, best_offsets = height, offsets
        if best_height == bound or time.process_time() > deadline:
            break
        height, offsets = _climb(order, table, bound, deadline, tick)
        if height < best_height:
            best_height, best_offsets = height, offsets
    packing = Packing(tuple(best_offsets.tolist()), int(best_height), bound)
    if not packing.optimal and len(items) <= EXACT_BUFFERS:
        packing = _settled(items, packing, deadline)
    return packing


def quick_height(items: Sequence[Item], bound: int, *, iterations: int) -> int:
    """What a short climb reaches, in bytes; it stops at `bound`."""
    if not items:
        return 0
    table = np.array(items, np.int64)
    firsts = [_lowest_fit(order, table) for order in _first_orders(items)]
    height, offsets, order = min(firsts, key=lambda item: item[0])
    if height <= bound:
        return height
    state = np.array([height, height, 0, 1], np.int64)
    count = _effort(iterations, len(items))
    _climb_rounds(order.copy(), order.copy(), table, offsets, state, bound, count)
    return int(state[1])


def _effort(iterations: int, buffers: int) -> int:
    """Fewer iterations for many buffers, as each takes longer by their square."""
    return max(1, int(iterations / max(1.0, buffers / FULL_EFFORT_BUFFERS) ** 2))


def _first_orders(items: Sequence[Item]) -> list[np.ndarray]:
    """Orders that often are good: by birth, by death, by size, by time alive, by size and time."""
    keys = (
        lambda i: (items[i].first, -items[i].last, -items[i].size_bytes, i),
        lambda i: (items[i].first, -items[i].size_bytes, -items[i].last, i),
        lambda i: (items[i].first, items[i].last, -items[i].size_bytes, i),
        lambda i: (-items[i].last, -items[i].size_bytes, -items[i].first, i),
        lambda i: (-items[i].size_bytes, items[i].first - items[i].last, i),
        lambda i: (items[i].first - items[i].last, -items[i].size_bytes, i),
        lambda i: (items[i].size_bytes * (items[i].first - items[i].last - 1), i),
    )
    return [np.array(sorted(range(len(items)), key=key), np.int64) for key in keys]


def _lowest_fit(order: np.ndarray, table: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Height, offsets and the order itself."""
    offsets = np.zeros(len(order), np.int64)
    # Compiling takes longer than placing a few buffers without.
    place = _place.python if len(order) <= PLAIN_BUFFERS else _place
    height = place(order, table, offsets, np.zeros(len(order), np.int64), NO_LIMIT)
    return int(height), offsets, order


def _climb(
    order: np.ndarray, table: np.ndarray, bound: int, deadline: float, tick: Tick
) -> tuple[int, np.ndarray]:
    """The best height and offsets that changes of an order lead to."""
    iterations = _effort(ITERATIONS, len(order))
    order, best_order = order.copy(), order.copy()
    height, offsets, _ = _lowest_fit(order, table)
    state = np.array([height, height, 0, 1], np.int64)
    done = 0
    while done < iterations and state[1] > bound and time.process_time() < deadline:
        count = _effort(ROUND_ITERATIONS, len(order))
        _climb_rounds(order, best_order, table, offsets, state, bound, count)
        done += count
        tick(done, iterations)
    height, offsets, _ = _lowest_fit(best_order, table)
    return height, offsets


@jit
def _place(
    order: np.ndarray, table: np.ndarray, offsets: np.ndarray, placed: np.ndarray, limit: int
) -> int:
    """Lowest fit in this order; fills `offsets`, gives the height, or one above `limit` at once.

    `table` has rows of size, first and last step; `placed` is room for the list of placed buffers,
    which is kept sorted by offset.
    """
    height = 0
    for count in range(len(order)):
        index = order[count]
        size, first, last = table[index, 0], table[index, 1], table[index, 2]
        low = 0
        for slot in range(count):
            other = placed[slot]
            if table[other, 1] <= last and first <= table[other, 2]:
                if offsets[other] - low >= size:
                    break
                low = max(low, offsets[other] + table[other, 0])
        offsets[index] = low
        height = max(height, low + size)
        if height > limit:
            return height
        slot = count
        while slot > 0 and offsets[placed[slot - 1]] > low:
            placed[slot] = placed[slot - 1]
            slot -= 1
        placed[slot] = index
    return height


@jit
def _random(state: np.ndarray) -> int:
    """The next number of a linear congruential generator, 31 bits (that of POSIX drand48)."""
    state[3] = (state[3] * 25214903917 + 11) & 281474976710655
    return state[3] >> 17


@jit
def _climb_rounds(
    order: np.ndarray,
    best_order: np.ndarray,
    table: np.ndarray,
    offsets: np.ndarray,
    state: np.ndarray,
    bound: int,
    iterations: int,
) -> None:
    """Change `order` this many times; `state` is height now, best height, patience, seed."""
    count = len(order)
    changed = np.zeros(count, np.int64)
    new_offsets = np.zeros(count, np.int64)
    room = np.zeros(count, np.int64)
    for _ in range(iterations):
        if state[1] <= bound:
            return
        found = 0
        for slot in range(count):
            index = order[slot]
            if offsets[index] + table[index, 0] == state[0]:
                room[found] = slot
                found += 1
        start = room[_random(state) % found]
        moving = order[start]
        found = 0
        for slot in range(start):
            other = order[slot]
            if table[other, 1] <= table[moving, 2] and table[moving, 1] <= table[other, 2]:
                room[found] = slot
                found += 1
        if found == 0 or _random(state) % 100 < BLIND_PERCENT:
            target = _random(state) % (start + 1)
        else:
            target = room[_random(state) % found]
        for slot in range(count):
            changed[slot] = order[slot]
        for slot in range(start, target, -1):
            changed[slot] = changed[slot - 1]
        changed[target] = moving
        limit = NO_LIMIT if _random(state) % 1000 < SLIP_PERMILLE else state[0]
        height = _place(changed, table, new_offsets, room, limit)
        state[2] += 1
        if height <= limit:
            order[:] = changed
            offsets[:] = new_offsets
            state[0] = height
        if height < state[1]:
            best_order[:] = changed
            state[1] = height
            state[2] = 0
        elif state[2] > PATIENCE:
            order[:] = best_order
            state[0] = _place(order, table, offsets, room, NO_LIMIT)
            state[2] = 0


# The exact search


def _settled(items: Sequence[Item], packing: Packing, deadline: float) -> Packing:
    """The optimum by search below the best height, as far as nodes and time allow."""
    step = int(np.gcd.reduce([item.size_bytes for item in items]))
    while not packing.optimal:
        search = _Below(items, packing.height_bytes - step, deadline)
        offsets = search.run()
        if offsets is not None:
            height = max(o + i.size_bytes for o, i in zip(offsets, items, strict=True))
            packing = Packing(tuple(offsets), height, packing.lower_bound_bytes)
        elif search.complete:
            packing = Packing(packing.offsets, packing.height_bytes, packing.height_bytes)
        else:
            break
    return packing


class _Below:
    """Looks for a packing of at most `height_bytes`, by placing buffers in order of their offsets.

    Each buffer goes on top of those placed before that it meets in time. A branch ends where at
    some step the buffers to come do not fit above what is there.
    """

    def __init__(self, items: Sequence[Item], height_bytes: int, deadline: float) -> None:
        steps = sorted({item.first for item in items})
        self.items = items
        self.height_bytes = height_bytes
        self.deadline = deadline
        self.complete = True
        self.nodes = 0
        # Only steps at which a buffer is born matter: sums of live buffers peak there.
        self.steps = [
            [k for k, step in enumerate(steps) if item.first <= step <= item.last] for item in items
        ]
        self.rest = [0] * len(steps)
        for item, where in zip(items, self.steps, strict=True):
            for k in where:
                self.rest[k] += item.size_bytes
        self.top = [0] * len(steps)
        self.offsets: list[int] = [-1] * len(items)

    def run(self) -> list[int] | None:
        """The offsets, None where there is no such packing or the search gave up."""
        left = sorted(range(len(self.items)), key=lambda i: -self.items[i].size_bytes)
        return self.offsets if self._place(left, 0, -1) else None

    def _place(self, left: list[int], floor: int, last: int) -> bool:
        if not left:
            return True
        self.nodes += 1
        if self.nodes > EXACT_NODES or (
            self.nodes & 255 == 0 and time.process_time() > self.deadline
        ):
            self.complete = False
            return False
        tried: set[tuple[Item, int]] = set()
        lows = [(max(self.top[k] for k in self.steps[i]), i) for i in left]
        for low, index in sorted(lows):
            # Equal offsets are placed by index, so that each packing is met once.
            if low < floor or (low == floor and index < last) or (self.items[index], low) in tried:
                continue
            tried.add((self.items[index], low))
            if self._try(left, low, index):
                return True
            if not self.complete:
                return False
        return False

    def _try(self, left: list[int], low: int, index: int) -> bool:
        """Place one buffer and go on; everything is as before where that fails."""
        size, where = self.items[index].size_bytes, self.steps[index]
        before = [self.top[k] for k in where]
        for k in where:
            self.top[k] = low + size
            self.rest[k] -= size
        fits = all(
            max(top, low) + rest <= self.height_bytes if rest else top <= self.height_bytes
            for top, rest in zip(self.top, self.rest, strict=True)
        )
        if fits:
            self.offsets[index] = low
            if self._place([i for i in left if i != index], low, index):
                return True
        for k, top in zip(where, before, strict=True):
            self.top[k] = top
            self.rest[k] += size
        return False
