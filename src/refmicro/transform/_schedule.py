"""Orders of tasks that keep few bytes alive: a proven optimum, or a good order and a lower bound.

The best order known and the lower bound are moved towards each other: a cut raises the bound, and a
climb finds an order below some bound between the two or refutes that there is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from refmicro.transform._climb import Climb
from refmicro.transform._cut_bound import cut_bound
from refmicro.transform._guides import depth_first, nearby
from refmicro.transform._tasks import Problem, Tick, first_live_bytes, peak_bytes

CUT_SHARE, CLIMB_SHARE = 8, 4
"""Parts of the time left that go into cuts, and into one climb."""


@dataclass
class Found:
    """What the search knows so far: orders from the first to the best, and the lower bound."""

    orders: list[list[int]]
    peak_bytes: int
    lower_bound_bytes: int

    @property
    def best(self) -> list[int]:
        """The order that costs least."""
        return self.orders[-1]

    @property
    def optimal(self) -> bool:
        """Whether no order is better."""
        return self.peak_bytes == self.lower_bound_bytes


def find_schedule(problem: Problem, *, time_limit_s: float, tick: Tick) -> Found:
    """The best order that the time allows, never worse than the order of the tasks as given.

    Args:
        problem: tasks and values.
        time_limit_s: when to stop with what is known, in seconds of computing, so that other work
            on the machine does not change the result; simple orders are tried in any case.
        tick: called now and then.
    """
    deadline = time.process_time() + time_limit_s
    given = list(range(len(problem.tasks)))
    found = Found([given], peak_bytes(problem, given), problem.start_bytes)
    guides = _guides(problem, given, time.process_time() + time_limit_s / 2)
    for order in guides:
        _offer(problem, found, order)
    _close(problem, found, guides, deadline, tick)
    return found


def _guides(problem: Problem, given: list[int], deadline: float) -> list[list[int]]:
    """Orders to try and to be guided by."""
    orders = [depth_first(problem, by_depth=True), depth_first(problem), given]
    errands = nearby(problem, deadline=deadline)
    return orders if errands is None else [*orders, errands]


def _close(
    problem: Problem, found: Found, guides: list[list[int]], deadline: float, tick: Tick
) -> None:
    """Lower the best peak and raise the bound until they meet or the time is over.

    `hopeless` is the highest bound below which no order was found, refuted or given up.
    """
    cuts: dict[int, int] = {}
    hopeless = -1
    while not found.optimal and (left := deadline - time.process_time()) > 0:
        settled = _raise_bound(problem, found, cuts, time.process_time() + left / CUT_SHARE)
        if hopeless < found.peak_bytes - 1 and not found.optimal:
            # The cut is often the answer, so it is tried before the range is halved.
            lowest = found.lower_bound_bytes
            bound = lowest if hopeless < lowest else (hopeless + found.peak_bytes) // 2
            order, need = _decide(problem, bound, [found.best, *guides], deadline, tick)
            if order is not None:
                _offer(problem, found, order)
            else:
                hopeless = bound
                found.lower_bound_bytes = max(found.lower_bound_bytes, need)
        elif settled:
            return


def _decide(
    problem: Problem, bound: int, guides: list[list[int]], deadline: float, tick: Tick
) -> tuple[list[int] | None, int]:
    """An order that keeps to a bound, if one of the guides leads to it; else what is refuted.

    Whether there is such an order may be hard to see along one guide and easy along another.
    """
    share = (deadline - time.process_time()) / CLIMB_SHARE / len(guides)
    for guide in guides:
        limit = time.process_time() + share
        climb = Climb(problem, bound, guide, deadline=limit, tick=tick)
        if climb.order is not None:
            return climb.order, 0
        if climb.refuted:
            return None, climb.need_bytes
    return None, 0


def equals(problem: Problem, found: Found, *, deadline: float, tick: Tick) -> Iterator[list[int]]:
    """Orders of the best peak found, that order first, of which some may pack better."""
    yield found.best
    for guide in _guides(problem, found.orders[0], deadline):
        climb = Climb(problem, found.peak_bytes, guide, deadline=deadline, tick=tick)
        if climb.order is not None:
            yield climb.order


def _offer(problem: Problem, found: Found, order: list[int]) -> None:
    """Take an order that is better than the best so far."""
    cost = peak_bytes(problem, order)
    if cost < found.peak_bytes:
        found.orders.append(order)
        found.peak_bytes = cost


def _raise_bound(problem: Problem, found: Found, cuts: dict[int, int], deadline: float) -> bool:
    """Cuts at the tasks that cost most in the best order, while they can tell something new.

    A task's cut is not above what lives during it in any order, so the others cannot matter. Gives
    whether there is nothing left to cut.
    """
    costs = []
    done, live = 0, first_live_bytes(problem)
    for index in found.best:
        move = problem.moves[index]
        costs.append((move.during(done, live), index))
        live = move.after(done, live)
        done |= move.bit
    for cost, index in sorted(costs, reverse=True):
        if cost <= found.lower_bound_bytes:
            return True
        if index not in cuts:
            if time.process_time() > deadline:
                return False
            cuts[index] = cut_bound(problem, index)
        found.lower_bound_bytes = max(found.lower_bound_bytes, cuts[index])
    return True
