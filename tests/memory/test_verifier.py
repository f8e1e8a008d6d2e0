"""The verifier on plans with known faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.memory.verifier import Placement, find_conflicts


def kinds(*placed, head_bytes=128, **more):
    """The kinds of all conflicts."""
    return [c.kind for c in find_conflicts(placed, head_bytes, **more)]


def test_a_sound_plan():
    a, b = Placement("a", 32, 0, 0, 2), Placement("b", 20, 32, 1, 3)
    assert kinds(a, b, Placement("c", 64, 0, 4, 4), Placement("d", 64, 64, 0, 4)) == []


def test_lifetimes_are_inclusive_at_both_ends():
    a, b = Placement("a", 32, 0, 0, 2), Placement("b", 32, 16, 2, 3)
    (conflict,) = find_conflicts([b, a], 128)
    assert conflict.kind == "overlap"
    assert conflict.buffers == ("a", "b")
    assert str(conflict) == (
        "a and b must not share memory while both live: bytes 16 to 32 in steps 2 to 2"
    )
    assert kinds(a, b._replace(first_time_used=3)) == []


def test_touching_buffers_and_empty_buffers_do_not_overlap():
    assert kinds(Placement("a", 32, 0, 0, 2), Placement("b", 32, 32, 0, 2)) == []
    assert kinds(Placement("a", 32, 0, 0, 2), Placement("b", 0, 16, 0, 2)) == []


def test_a_pair_may_be_allowed():
    pair = Placement("a", 32, 0, 0, 2), Placement("b", 32, 0, 2, 3)
    assert kinds(*pair, allowed={frozenset(("a", "b"))}) == []
    assert kinds(*pair, allowed={frozenset(("a", "c"))}) == ["overlap"]


def test_alignment_and_bounds():
    assert kinds(Placement("a", 16, 8, 0, 0)) == ["alignment"]
    assert kinds(Placement("a", 17, 112, 0, 0)) == ["outside"]
    assert kinds(Placement("a", 16, -16, 0, 0)) == ["outside"]
    assert kinds(Placement("a", 16, 112, 0, 0)) == []


one = st.tuples(st.integers(1, 5), st.integers(0, 12), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(one, max_size=12))
def test_overlaps_are_those_of_a_map_of_bytes_and_steps(items):
    placed = [
        Placement(f"{i}", 16 * size, 16 * offset, min(a, b), max(a, b))
        for i, (size, offset, a, b) in enumerate(items)
    ]
    cells = [
        {
            (byte, step)
            for byte in range(p.offset, p.offset + p.size_bytes, 16)
            for step in range(p.first_time_used, p.last_time_used + 1)
        }
        for p in placed
    ]
    expected = {
        frozenset((str(i), str(j)))
        for i in range(len(cells))
        for j in range(i)
        if cells[i] & cells[j]
    }
    found = find_conflicts(placed, 1024)
    assert {frozenset(c.buffers) for c in found if c.kind == "overlap"} == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("size_bytes", [16, 32])
def test_a_fault_anywhere_is_found(size_bytes):
    """A plan of many, sound but for one buffer that is moved onto its neighbour."""
    placed = [Placement(f"{i}", size_bytes, size_bytes * (i % 8), i, i + 7) for i in range(200)]
    head_bytes = 8 * size_bytes
    assert find_conflicts(placed, head_bytes) == []
    for index in (5, 100, 198):
        broken = list(placed)
        broken[index] = placed[index]._replace(offset=placed[index + 1].offset)
        assert any(str(index) in c.buffers for c in find_conflicts(broken, head_bytes))
