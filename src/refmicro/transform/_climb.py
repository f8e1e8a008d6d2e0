"""Whether some order of tasks stays below a bound.

The search goes through sets of tasks, and two facts keep it short. A task that fits below the bound
and leaves no more alive than before may always come next. And a set D reached from S with no more
alive than in any set between the two may always be passed through: bytes alive are a submodular
function of the set, so any path that goes on from S can be bent to pass through D without rising. A
path is a row of hills within hills, and only one slope is searched at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from refmicro.transform._tasks import Problem, Tick, bits, first_live_bytes

INTERVAL_SETS_MAX = 4096
"""Sets between two ends of a hill that are looked at before the proof is given up."""

SETS_MAX = 1_000_000
"""Sets that are looked at before a decision is given up; each takes a few hundred bytes."""

UNKNOWN_BYTES = 1 << 62


@dataclass
class _Point:
    """A set of tasks, what lives after it, which tasks may come next, and how it was reached."""

    done: int
    live_bytes: int
    ready: int
    path: _Path | None = None


@dataclass
class _Path:
    """A list of tasks, the last one first, that shares its beginning with others."""

    task: int
    rest: _Path | None


@dataclass
class _Frame:
    """A set whose followers are tried one by one; `now` is the follower that is followed."""

    foot: _Point
    choices: list[int]
    now: _Point | None = None


class Climb:
    """Decides whether an order exists that never has more than `bound_bytes` alive.

    Attributes:
        order: such an order, None where none was found.
        refuted: there is none.
        need_bytes: where refuted, no order costs less than this.
    """

    def __init__(
        self,
        problem: Problem,
        bound_bytes: int,
        guide: Sequence[int],
        *,
        deadline: float,
        tick: Tick,
    ) -> None:
        """`guide` is any order; where there is a choice its tasks are tried in that order."""
        self.problem = problem
        self.bound_bytes = bound_bytes
        self.need_bytes = UNKNOWN_BYTES
        self.order: list[int] | None = None
        self.refuted = False
        self.sets = 0
        self._deadline = deadline
        self._tick = tick
        self._rank = {index: rank for rank, index in enumerate(guide)}
        self._dead: set[int] = set()
        self._all = (1 << len(problem.tasks)) - 1
        self._safe = True
        if problem.start_bytes > bound_bytes:
            self.need_bytes, self.refuted = problem.start_bytes, True
        else:
            self._run()

    def _run(self) -> None:
        ready = sum(1 << i for i, mask in enumerate(self.problem.before) if not mask)
        point = self._slide(_Point(0, first_live_bytes(self.problem), ready))
        frames: list[_Frame] = []
        while point.done != self._all:
            if self.sets & 63 == 0:
                self._tick(point.done.bit_count(), len(self.problem.tasks))
                if self.sets > SETS_MAX or time.process_time() > self._deadline:
                    return
            while frames and point.live_bytes <= frames[-1].foot.live_bytes:
                point = self._safe_end(frames.pop().foot, point)
            self.sets += 1
            frames.append(_Frame(point, self._choices(point)))
            following = self._follow(frames)
            if following is None:
                self.refuted = self._safe
                return
            point = following
        self.order = _tasks(point.path)

    def _follow(self, frames: list[_Frame]) -> _Point | None:
        """The next set to look at, leaving sets behind that lead nowhere."""
        while frames:
            frame = frames[-1]
            while frame.choices:
                point = self._slide(self._step(frame.foot, frame.choices.pop()))
                if point.done not in self._dead:
                    return point
            self._dead.add(frames.pop().foot.done)
        return None

    def _choices(self, point: _Point) -> list[int]:
        """Tasks that fit below the bound, the one that is tried first at the end."""
        found = []
        for index in bits(point.ready):
            need = self.problem.moves[index].during(point.done, point.live_bytes)
            if need <= self.bound_bytes:
                found.append(index)
            else:
                self.need_bytes = min(self.need_bytes, need)
        found.sort(key=self._rank.__getitem__, reverse=True)
        return found

    def _step(self, point: _Point, index: int) -> _Point:
        """The point after one more task."""
        move, before = self.problem.moves[index], self.problem.before
        done = point.done | move.bit
        ready = point.ready & ~move.bit
        for other in self.problem.next[index]:
            if not before[other] & ~done:
                ready |= 1 << other
        live = move.after(point.done, point.live_bytes)
        return _Point(done, live, ready, _Path(index, point.path))

    def _slide(self, point: _Point) -> _Point:
        """Take every task that fits below the bound and leaves no more alive."""
        moves, bound = self.problem.moves, self.bound_bytes
        again = True
        while again:
            again = False
            for index in bits(point.ready):
                move = moves[index]
                if (
                    move.after(point.done, point.live_bytes) <= point.live_bytes
                    and move.during(point.done, point.live_bytes) <= bound
                ):
                    point = self._step(point, index)
                    again = True
        return point

    def _safe_end(self, foot: _Point, end: _Point) -> _Point:
        """The lowest set between two, by the tasks of the path from one to the other.

        With too many sets in between the end is taken as it is, and nothing can be refuted.
        """
        tasks = _tasks(end.path, foot.path)
        best = _lowest_between(self.problem, foot, end, tasks)
        if best is None:
            self._safe = False
            return end
        if best == end.done:
            return end
        point = foot
        for index in tasks:
            if best >> index & 1:
                point = self._step(point, index)
        return point


def _tasks(path: _Path | None, until: _Path | None = None) -> list[int]:
    """The tasks of a path in order, those after `until`."""
    found = []
    while path is not until:
        found.append(path.task)
        path = path.rest
    return found[::-1]


def _lowest_between(
    problem: Problem, foot: _Point, end: _Point, tasks: Sequence[int]
) -> int | None:
    """The set between two with the fewest bytes alive after it, the smallest of equals.

    None where there are more than `INTERVAL_SETS_MAX`.
    """
    seen = {foot.done}
    stack = [(foot.done, foot.live_bytes)]
    best = (end.live_bytes, len(tasks), end.done)
    while stack:
        done, live = stack.pop()
        for index in tasks:
            move = problem.moves[index]
            if done & move.bit or problem.before[index] & ~done or done | move.bit in seen:
                continue
            if len(seen) >= INTERVAL_SETS_MAX:
                return None
            after = move.after(done, live)
            both = done | move.bit
            seen.add(both)
            stack.append((both, after))
            best = min(best, (after, (both & ~foot.done).bit_count(), both))
    return best[2]
