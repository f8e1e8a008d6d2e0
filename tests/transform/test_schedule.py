"""Orders of tasks: the optimum, its proof and every order found, against all orders there are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.transform._climb import Climb
from refmicro.transform._cut_bound import cut_bound
from refmicro.transform._guides import depth_first, nearby
from refmicro.transform._schedule import Found, equals, find_schedule
from refmicro.transform._tasks import FROM_START, Problem, Task, Value, is_order, peak_bytes

SIZES = st.sampled_from([16, 32, 48, 64, 112])


def no_tick(done: int, total: int) -> None:
    """Progress that nobody sees."""


@st.composite
def problems(draw: Callable, max_tasks: int = 8) -> Problem:
    """Random graphs with every feature: results, dead values, forced order, in place."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=2))
    makers = [FROM_START] * len(sizes)
    readers: list[set[int]] = [set() for _ in sizes]
    plans = []
    for task in range(draw(st.integers(1, max_tasks))):
        inputs = draw(st.sets(st.integers(0, len(sizes) - 1), max_size=3))
        count = draw(st.sampled_from([1, 1, 1, 2, 0]))
        outputs = tuple(range(len(sizes), len(sizes) + count))
        for _ in outputs:
            same = sizes[min(inputs)] if inputs and draw(st.booleans()) else draw(SIZES)
            sizes.append(same)
            makers.append(task)
            readers.append(set())
        for index in inputs:
            readers[index].add(task)
        after = {draw(st.integers(0, task - 1))} if task and draw(st.integers(0, 5)) == 0 else ()
        own = draw(st.sampled_from([0, 0, 0, 48]))
        plans.append((inputs, outputs, after, own, draw(st.booleans())))
    stays = [draw(st.integers(0, 7)) == 0 for _ in sizes]
    values = tuple(
        Value(size, maker, frozenset(seen), kept)
        for size, maker, seen, kept in zip(sizes, makers, readers, stays, strict=True)
    )
    tasks = []
    for inputs, outputs, after, own, in_place in plans:
        live = [i for i in outputs if values[i].readers or values[i].stays]
        over = {(i, o) for i in inputs for o in live[:1] if values[i].size_bytes == sizes[o]}
        over = frozenset(over) if in_place else frozenset()
        tasks.append(Task(frozenset(inputs), outputs, frozenset(after), own, over))
    return Problem(tuple(tasks), values)


def least_peak(problem: Problem) -> int:
    """The optimum, over every set of tasks that can be done."""
    best = {0: problem.start_bytes}
    live = {0: sum(v.size_bytes for v in problem.values if v.maker < 0 and (v.readers or v.stays))}
    for _ in problem.tasks:
        reached: dict[int, int] = {}
        for done, peak in best.items():
            for index, move in enumerate(problem.moves):
                if done >> index & 1 or problem.before[index] & ~done:
                    continue
                both = done | 1 << index
                cost = max(peak, move.during(done, live[done]))
                reached[both] = min(cost, reached.get(both, cost))
                live[both] = move.after(done, live[done])
        best = reached
    return best[(1 << len(problem.tasks)) - 1]


@given(problems())
def test_the_optimum_is_found_and_proven(problem: Problem) -> None:
    found = find_schedule(problem, time_limit_s=60, tick=no_tick)
    assert found.optimal
    assert found.peak_bytes == least_peak(problem)
    for order in found.orders:
        assert is_order(problem, order)
    assert peak_bytes(problem, found.best) == found.peak_bytes


@given(problems())
def test_a_climb_decides_every_bound(problem: Problem) -> None:
    least = least_peak(problem)
    guide = list(range(len(problem.tasks)))
    climb = Climb(problem, least, guide, deadline=math.inf, tick=no_tick)
    assert climb.order is not None
    assert is_order(problem, climb.order)
    assert peak_bytes(problem, climb.order) == least
    below = Climb(problem, least - 1, guide, deadline=math.inf, tick=no_tick)
    assert below.refuted
    assert below.order is None
    assert least - 1 < below.need_bytes <= least


@given(problems())
def test_cuts_are_below_every_order(problem: Problem) -> None:
    least = least_peak(problem)
    assert all(cut_bound(problem, index) <= least for index in range(len(problem.tasks)))


@given(problems(max_tasks=12))
def test_simple_orders_are_orders(problem: Problem) -> None:
    assert is_order(problem, depth_first(problem))
    assert is_order(problem, depth_first(problem, by_depth=True))
    assert is_order(problem, nearby(problem, deadline=math.inf))


@given(problems())
def test_equals_cost_the_same(problem: Problem) -> None:
    found = find_schedule(problem, time_limit_s=60, tick=no_tick)
    for order in equals(problem, found, deadline=math.inf, tick=no_tick):
        assert is_order(problem, order)
        assert peak_bytes(problem, order) <= found.peak_bytes


def chains(count: int, length: int, size: int = 64) -> Problem:
    """Independent chains whose last values are added up, level by level in the order given."""
    values = [Value(16, FROM_START, frozenset(i * length for i in range(count)))]
    tasks = []
    for chain in range(count):
        for step in range(length):
            index = chain * length + step
            last = step == length - 1
            source = 0 if step == 0 else len(values) - 1
            reader = count * length + max(chain - 1, 0) if last else index + 1
            tasks.append(Task(frozenset({source}), (len(values),)))
            values.append(Value(16 if last else size, index, frozenset({reader})))
    ends = [1 + chain * length + length - 1 for chain in range(count)]
    total = ends[0]
    for number, end in enumerate(ends[1:]):
        index = count * length + number
        tasks.append(Task(frozenset({total, end}), (len(values),)))
        total = len(values)
        stays = number == count - 2
        reader = frozenset() if stays else frozenset({index + 1})
        values.append(Value(16, index, reader, stays))
    return Problem(tuple(tasks), tuple(values))


def test_a_thousand_tasks_take_seconds() -> None:
    """Forty chains: as many sets as there are particles, and one hill at a time."""
    problem = chains(40, 25)
    found = find_schedule(problem, time_limit_s=20, tick=no_tick)
    assert found.optimal
    assert found.peak_bytes == 64 + 64 + 16 + 16


def test_a_bound_out_of_time_is_still_a_bound() -> None:
    problem = chains(6, 4)
    best = find_schedule(problem, time_limit_s=30, tick=no_tick)
    hurried = find_schedule(problem, time_limit_s=0, tick=no_tick)
    assert is_order(problem, hurried.best)
    assert hurried.lower_bound_bytes <= best.peak_bytes <= hurried.peak_bytes


def test_nothing_to_order() -> None:
    found = find_schedule(Problem((), ()), time_limit_s=1, tick=no_tick)
    assert isinstance(found, Found)
    assert found.optimal
    assert found.best == []


@pytest.mark.parametrize(
    ("order", "right"), [([0, 1, 2], True), ([1, 0, 2], False), ([0, 1], False), ([0, 0, 1], False)]
)
def test_is_order(order: list[int], right: bool) -> None:
    values = tuple(Value(16, i, frozenset({i + 1}) if i < 2 else frozenset()) for i in range(3))
    tasks = tuple(Task(frozenset({i - 1}) if i else frozenset(), (i,)) for i in range(3))
    assert is_order(Problem(tasks, values), order) is right
