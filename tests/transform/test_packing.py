"""Buffers packed: never on top of each other, never below the bound, the optimum where small."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.memory.verifier import Placement, find_conflicts
from refmicro.transform._packing import Item, Packing, live_bound, pack, quick_height


def no_tick(done: int, total: int) -> None:
    """Progress that nobody sees."""


def items_of(max_size: int) -> st.SearchStrategy[list[Item]]:
    item = st.tuples(st.integers(1, 6), st.integers(0, 12), st.integers(0, 6)).map(
        lambda v: Item(16 * v[0], v[1], v[1] + v[2])
    )
    return st.lists(item, max_size=max_size)


def judge(items: list[Item], packing: Packing) -> None:
    """The verifier, which knows no planner."""
    placed = [
        Placement(str(i), item.size_bytes, offset, item.first, item.last)
        for i, (item, offset) in enumerate(zip(items, packing.offsets, strict=True))
    ]
    assert not find_conflicts(placed, packing.height_bytes)
    ends = [o + i.size_bytes for o, i in zip(packing.offsets, items, strict=True)]
    assert packing.height_bytes == max(ends, default=0)
    assert live_bound(items) <= packing.lower_bound_bytes <= packing.height_bytes


def lowest(items: list[Item]) -> int:
    """The optimum: some order makes it by lowest fit."""
    best = 1 << 30
    for order in itertools.permutations(range(len(items))):
        offsets: dict[int, int] = {}
        for i in order:
            taken = sorted(
                (offsets[j], offsets[j] + items[j].size_bytes)
                for j in offsets
                if items[j].first <= items[i].last and items[i].first <= items[j].last
            )
            low = 0
            for start, end in taken:
                if start - low >= items[i].size_bytes:
                    break
                low = max(low, end)
            offsets[i] = low
        height = max((offsets[i] + items[i].size_bytes for i in offsets), default=0)
        best = min(best, height)
    return best


@given(items_of(24))
def test_packings_are_sound(items: list[Item]) -> None:
    judge(items, pack(items, time_limit_s=5, tick=no_tick))


@given(items_of(6))
def test_few_buffers_are_packed_optimally(items: list[Item]) -> None:
    packing = pack(items, time_limit_s=30, tick=no_tick)
    assert packing.optimal
    assert packing.height_bytes == (lowest(items) if items else 0)


def test_the_optimum_may_lie_above_the_bound() -> None:
    """Eleven buffers that cannot all lie within the sum of what lives at one time."""
    items = [
        Item(32, 1, 1),
        Item(16, 0, 1),
        Item(16, 1, 3),
        Item(32, 2, 2),
        Item(16, 3, 4),
        Item(32, 3, 3),
        Item(32, 0, 0),
        Item(32, 4, 4),
        Item(16, 2, 2),
    ]
    packing = pack(items, time_limit_s=30, tick=no_tick)
    judge(items, packing)
    assert packing.optimal


def test_equal_results_without_the_clock() -> None:
    items = [Item(16 * (1 + i * 7 % 5), i * 3 % 11, i * 3 % 11 + i % 4) for i in range(60)]
    first = pack(items, time_limit_s=600, tick=no_tick)
    assert first == pack(items, time_limit_s=600, tick=no_tick)
    judge(items, first)


def test_no_time_still_gives_a_packing() -> None:
    items = [Item(16 * (1 + i * 7 % 5), i % 9, i % 9 + i % 5) for i in range(100)]
    judge(items, pack(items, time_limit_s=0, tick=no_tick))


@pytest.mark.parametrize("iterations", [1, 50])
def test_a_quick_height_is_one_of_a_packing(iterations: int) -> None:
    items = [Item(16 * (1 + i * 5 % 7), i * 3 % 17, i * 3 % 17 + i % 6) for i in range(80)]
    bound = live_bound(items)
    best = pack(items, time_limit_s=30, tick=no_tick).height_bytes
    assert bound <= best <= quick_height(items, bound, iterations=iterations)
    assert quick_height([], 0, iterations=iterations) == 0
