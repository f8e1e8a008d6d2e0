"""Among orders of one peak, one whose buffers pack well.

The peak is a bound that a memory plan may miss: buffers that live at one time fit below it, but
holes between them may not be where the next one needs them. Small changes of the order leave the
peak and change the holes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

from refmicro.memory.greedy_planner import Buffer, greedy_plan, plan_bytes
from refmicro.transform._packing import Item, quick_height
from refmicro.transform._tasks import FROM_START, Problem, bits, overwritten, peak_bytes

TRIALS = 400
"""Changed orders that are packed."""

MOVES = 6
"""Tasks that one change moves at most."""

CLIMB_ITERATIONS = 300
"""Effort for one packing."""

Tick = Callable[[int, int], None]
"""Called as tick(trials done, trials) now and then."""


def buffers_of(problem: Problem, order: Sequence[int]) -> list[Item]:
    """The buffers of an order: values and what tasks need for themselves.

    A task that may write over inputs that die there does so, over the one that was there first.
    Times are places in the order, from 1 on; 0 is the start.
    """
    place = {task: step for step, task in enumerate(order, 1)}
    end = len(order)
    first, last = [], []
    for value in problem.values:
        first.append(0 if value.maker == FROM_START else place[value.maker])
        uses = [place[reader] for reader in value.readers]
        last.append(end if value.stays else max([first[-1], *uses]))
    home = list(range(len(problem.values)))
    kept = {i for i, value in enumerate(problem.values) if value.stays}
    for step, index in enumerate(order, 1):
        for output, inputs in overwritten(problem.tasks[index]).items():
            dying = [home[i] for i in inputs if last[home[i]] == step and home[i] not in kept]
            if dying:
                buffer = min(dying, key=lambda i: (first[i], i))
                home[output] = buffer
                last[buffer] = last[output]
                if output in kept:
                    kept.add(buffer)
    items = [
        Item(problem.values[i].size_bytes, first[i], last[i])
        for i, buffer in enumerate(home)
        if buffer == i
    ]
    items += [
        Item(task.own_bytes, place[index], place[index])
        for index, task in enumerate(problem.tasks)
        if task.own_bytes
    ]
    return items


def packed_height(problem: Problem, order: Sequence[int]) -> int:
    """About how high a plan of this order is, in bytes, never below its peak."""
    peak = peak_bytes(problem, order)
    return quick_height(buffers_of(problem, order), peak, iterations=CLIMB_ITERATIONS)


def greedy_height(problem: Problem, order: Sequence[int]) -> int:
    """About how high TFLM's own plan of this order is, in bytes."""
    buffers = [Buffer(*item) for item in buffers_of(problem, order)]
    return plan_bytes(buffers, greedy_plan(buffers))


def polish(
    problem: Problem,
    order: Sequence[int],
    height: Callable[[Problem, Sequence[int]], int],
    *,
    deadline: float,
    tick: Tick,
) -> list[int]:
    """An order of no higher peak for which `height` is as low as found."""
    random = Random(0)
    order = list(order)
    peak = peak_bytes(problem, order)
    best = height(problem, order)
    for trial in range(TRIALS):
        if best <= peak or time.process_time() > deadline:
            break
        tick(trial, TRIALS)
        changed = list(order)
        for _ in range(random.randint(1, MOVES)):
            _move_one(problem, changed, random)
        if peak_bytes(problem, changed) > peak:
            continue
        now = height(problem, changed)
        if now <= best:
            order, best = changed, now
    return order


def _move_one(problem: Problem, order: list[int], random: Random) -> None:
    """Move one task to another place between those before it and those that wait for it."""
    start = random.randrange(len(order))
    task = order[start]
    before = set(bits(problem.before[task]))
    waiting = set(problem.next[task])
    low = start
    while low > 0 and order[low - 1] not in before:
        low -= 1
    high = start
    while high + 1 < len(order) and order[high + 1] not in waiting:
        high += 1
    order.insert(random.randint(low, high), order.pop(start))
