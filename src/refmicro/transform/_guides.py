"""Simple orders of tasks: where searches begin, and what they try first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from refmicro.transform._tasks import FROM_START, Problem, bits, first_live_bytes

RECENT_MAX = 4
"""Values made last whose readers may come next."""

READERS_MAX = 2
"""Of each such value."""

ERRAND_MAX = 32
"""Tasks that are done at once for one reader."""


def depth_first(problem: Problem, *, by_depth: bool = False) -> list[int]:
    """Each task as late as its first reader allows, from the results back.

    What a task needs is done in the order given, or what takes the longest chain of tasks first.
    """
    rank = list(range(len(problem.tasks)))
    if by_depth:
        depth = [0] * len(rank)
        for index, mask in enumerate(problem.before):
            depth[index] = 1 + max((depth[i] for i in bits(mask)), default=0)
        rank = [-value for value in depth]

    def needs(task: int) -> Iterator[int]:
        return iter(sorted(bits(problem.before[task]), key=rank.__getitem__))

    order: list[int] = []
    seen = 0
    makers = [v.maker for v in problem.values if v.stays and v.maker != FROM_START]
    for root in itertools.chain(makers, range(len(problem.tasks))):
        if seen >> root & 1:
            continue
        seen |= 1 << root
        stack = [(root, needs(root))]
        while stack:
            following = next((i for i in stack[-1][1] if not seen >> i & 1), None)
            if following is None:
                order.append(stack.pop()[0])
            else:
                seen |= 1 << following
                stack.append((following, needs(following)))
    return order


def nearby(problem: Problem, *, deadline: float) -> list[int] | None:
    """Always the reader of a recent value that leaves the fewest bytes alive, with all it needs.

    None where the time runs out.
    """
    errands = _Errands(problem)
    while len(errands.order) < len(problem.tasks):
        if time.process_time() > deadline:
            return None
        errands.run(errands.best() or errands.any())
    return errands.order


class _Errands:
    """The order so far; an errand is a task with all that it needs and that is not done yet."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.order: list[int] = []
        self._done = 0
        self._live = first_live_bytes(problem)
        self._recent = [i for i, v in enumerate(problem.values) if v.maker == FROM_START]
        self._next = 0

    def best(self) -> list[int] | None:
        """The errand for a recent value that leaves least, then costs least, then is shortest."""
        choices = []
        looked = 0
        for slot in range(len(self._recent) - 1, -1, -1):
            readers = self.problem.values[self._recent[slot]].readers
            waiting = sorted(reader for reader in readers if not self._done >> reader & 1)
            if not waiting:
                del self._recent[slot]
                continue
            for reader in waiting[:READERS_MAX]:
                tasks = self._errand(reader)
                if tasks:
                    choices.append((*self._cost(tasks), tasks))
            looked += 1
            if looked == RECENT_MAX:
                break
        return min(choices)[-1] if choices else None

    def any(self) -> list[int]:
        """The first task in the order given that is not done; all before it are."""
        while self._done >> self._next & 1:
            self._next += 1
        return [self._next]

    def _errand(self, task: int) -> list[int] | None:
        """What is left to do up to a task, None where that is too much."""
        found: list[int] = []
        seen = {task}
        stack = [(task, bits(self.problem.before[task] & ~self._done))]
        while stack:
            following = next((i for i in stack[-1][1] if i not in seen), None)
            if following is None:
                found.append(stack.pop()[0])
            elif len(seen) == ERRAND_MAX:
                return None
            else:
                seen.add(following)
                stack.append((following, bits(self.problem.before[following] & ~self._done)))
        return found

    def _cost(self, tasks: list[int]) -> tuple[int, int, int]:
        """Bytes by which an errand leaves more alive, its peak, its tasks."""
        done, live, peak = self._done, self._live, 0
        for move in (self.problem.moves[index] for index in tasks):
            peak = max(peak, move.during(done, live))
            live = move.after(done, live)
            done |= move.bit
        return max(0, live - self._live), peak, len(tasks)

    def run(self, tasks: list[int]) -> None:
        """Do an errand, then whatever became possible and leaves no more alive."""
        fresh = list(tasks)
        for index in tasks:
            self._do(index)
        while fresh:
            for index in self.problem.next[fresh.pop()]:
                done = self._done >> index & 1 or self.problem.before[index] & ~self._done
                move = self.problem.moves[index]
                if not done and move.after(self._done, self._live) <= self._live:
                    self._do(index)
                    fresh.append(index)

    def _do(self, index: int) -> None:
        move = self.problem.moves[index]
        self._live = move.after(self._done, self._live)
        self._done |= move.bit
        self.order.append(index)
        outputs = self.problem.tasks[index].outputs
        self._recent += [i for i in outputs if self.problem.values[i].readers]
