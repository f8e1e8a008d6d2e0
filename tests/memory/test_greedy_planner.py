"""The greedy planner against TFLM's algorithm as written there: a list, walked for each buffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.memory import greedy_planner
from refmicro.memory.greedy_planner import Buffer, greedy_plan, plan_bytes
from refmicro.memory.offline_plan import ONLINE
from refmicro.memory.verifier import Placement, find_conflicts


def listed_plan(buffers):
    """Offsets by the plain algorithm: sort by swapping neighbours, scan an offset-ordered list."""
    order = [i for i, b in enumerate(buffers) if b.offline_offset != ONLINE]
    online = [i for i, b in enumerate(buffers) if b.offline_offset == ONLINE][::-1]
    swapped = True
    while swapped:
        swapped = False
        for i in range(1, len(online)):
            if buffers[online[i - 1]].size_bytes < buffers[online[i]].size_bytes:
                online[i - 1], online[i] = online[i], online[i - 1]
                swapped = True
    offsets, placed = {}, []
    for index in order + online:
        wanted = buffers[index]
        candidate = 0
        for offset, other in placed:
            if other.first_time_used > wanted.last_time_used:
                continue
            if wanted.first_time_used > other.last_time_used:
                continue
            if offset - candidate >= wanted.size_bytes:
                break
            candidate = max(candidate, offset + other.size_bytes)
        offset = candidate if wanted.offline_offset == ONLINE else wanted.offline_offset
        offsets[index] = offset
        place = sum(1 for other, _ in placed if other <= offset)
        placed.insert(place, (offset, wanted))
    return [offsets[i] for i in range(len(buffers))]


@st.composite
def buffer_lists(draw, offline=True):
    """Buffers as TFLM plans them: sizes are multiples of 16, unused ones live at -1 only."""
    steps = draw(st.integers(1, 30))
    one = st.tuples(st.integers(0, 6), st.integers(-1, steps), st.integers(-1, steps))
    result = []
    for size, a, b in draw(st.lists(one, max_size=40)):
        offset = draw(st.integers(0, 10)) * 16 if offline and draw(st.booleans()) else ONLINE
        result.append(Buffer(16 * size, min(a, b), max(a, b), offset))
    return result


@given(buffer_lists())
def test_same_offsets_as_the_list(buffers):
    assert greedy_plan(buffers) == listed_plan(buffers)


@given(buffer_lists(), st.sampled_from([-1, 0, 7]))
def test_arrays_take_over_at_any_time(buffers, visits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy_planner, "TREE_VISITS_MAX", visits)
        assert greedy_plan(buffers) == listed_plan(buffers)


@given(buffer_lists(offline=False))
def test_plans_have_no_conflicts_and_waste_no_less_than_must_live(buffers):
    offsets = greedy_plan(buffers)
    head_bytes = plan_bytes(buffers, offsets)
    placed = [
        Placement(str(i), b.size_bytes, offset, b.first_time_used, b.last_time_used)
        for i, (b, offset) in enumerate(zip(buffers, offsets, strict=True))
    ]
    assert find_conflicts(placed, head_bytes) == []
    for step in range(-1, 31):
        live = [b for b in buffers if b.first_time_used <= step <= b.last_time_used]
        assert sum(b.size_bytes for b in live) <= head_bytes


def test_equal_sizes_go_by_higher_index():
    buffers = [Buffer(32, 0, 1), Buffer(32, 0, 1), Buffer(48, 0, 1), Buffer(32, 1, 2)]
    assert greedy_plan(buffers) == [112, 80, 0, 48]


def test_offline_offsets_come_first_and_leave_gaps():
    buffers = [Buffer(64, 0, 3), Buffer(16, 0, 3, 32), Buffer(32, 0, 3), Buffer(16, 0, 0, 48)]
    assert greedy_plan(buffers) == [64, 32, 0, 48]


def test_nothing_to_plan():
    assert greedy_plan([]) == []
    assert plan_bytes([], []) == 0


@pytest.mark.parametrize(("count", "lifetime"), [(10_000, 4), (1_500, 1_500)])
def test_many_buffers(count, lifetime):
    """Many that live shortly, and many that all live at one time, are planned at all."""
    buffers = [Buffer(16 * (i * 7919 % 500 + 1), i, i + lifetime) for i in range(count)]
    offsets = greedy_plan(buffers)
    assert plan_bytes(buffers, offsets) >= lifetime * 16
