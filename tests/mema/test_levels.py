"""Accesses by memory, copies of the filter, and frames a pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro.mema import nest
from refmicro.mema.cost import Order, Tile, accesses
from refmicro.mema.frames import MOST_FRAMES, passes
from refmicro.mema.layout import Layout, layout
from refmicro.mema.levels import levels, staging_pays
from refmicro.mema.problem import Matmul
from refmicro.mema.target import TARGETS, Target, find_target
from tests.mema.problems import layouts


@settings(max_examples=100, deadline=None)
@given(layouts(), *(st.integers(1, 6) for _ in range(2)))
def test_a_copy_is_counted(case: tuple[Layout, Target], m: int, n: int) -> None:
    used, _ = case
    tile, depth = Tile(m, n, used.steps), used.runs * used.run
    values = np.ones((used.rows, depth), int), np.ones((used.channels, depth), int)
    _, counted = nest.run(used, Order.OUTPUT, tile, *values, staged=True)
    assert accesses(used, Order.OUTPUT, tile, staged=True) == counted


@settings(max_examples=200, deadline=None)
@given(layouts(), *(st.integers(1, 6) for _ in range(2)))
def test_every_access_has_a_memory(case: tuple[Layout, Target], m: int, n: int) -> None:
    used, _ = case
    tile = Tile(m, n, used.steps)
    for staged in (False, used.packed):
        counted = accesses(used, Order.OUTPUT, tile, staged=staged)
        found = levels(used, tile, counted, staged=staged)
        assert found.sram_loads + found.flash_loads == counted.loads.count
        assert found.sram_stores == counted.stores.count


@given(
    st.integers(1, 40), st.integers(1, 12), st.integers(1, 30), st.integers(0, 9), st.integers(1, 4)
)
def test_when_a_copy_pays(channels: int, n: int, rows: int, wait_states: int, m: int) -> None:
    target = find_target("cortex-m4")
    used = layout(Matmul(channels, 8, rows), target)
    tile, cycles = Tile(m, n, used.steps), []
    for staged in (False, True):
        counted = accesses(used, Order.OUTPUT, tile, staged=staged)
        found = levels(used, tile, counted, staged=staged)
        waits = found.flash_loads * (1 + wait_states)
        cycles.append(found.sram_loads + found.sram_stores + waits)
    assert (cycles[1] < cycles[0]) == staging_pays(-(-rows // n), wait_states)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_frames_share_weights(name: str) -> None:
    """Each weight is loaded once for all frames that fit one tile, never more than once a frame."""
    problems = [Matmul(256, 64, 1), Matmul(64, 128, 1)]
    found = list(passes(problems, find_target(name)))
    assert [item.frames for item in found] == list(range(1, MOST_FRAMES + 1))
    assert [item.delay_frames for item in found] == list(range(MOST_FRAMES))
    alone = found[0]
    for item in found:
        assert alone.flash_loads <= item.flash_loads <= item.frames * alone.flash_loads
        assert item.accesses <= item.frames * alone.accesses
        assert item.activation_bytes == item.frames * alone.activation_bytes
    assert min(item.accesses / item.frames for item in found) < 0.95 * alone.accesses


def test_a_frame_alone_cannot_reuse_weights() -> None:
    """The floor of a matrix-vector product: a word of weights for four products."""
    (alone, *_), problem = (
        passes([Matmul(256, 64, 1)], find_target("cortex-m4")),
        Matmul(256, 64, 1),
    )
    assert alone.flash_loads >= problem.macs // 4
