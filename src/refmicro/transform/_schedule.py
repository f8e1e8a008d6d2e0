"""Orders of tasks that keep few bytes alive: a proven optimum, or a good order and a lower bound.

A task reads values and makes values. A value lives from the task that makes it (or from the start)
to its last reader (or to the end). The cost of an order is the most bytes alive at any task, with
what the task needs for itself. What lives after a set of tasks does not depend on their order, so
an order is a path through sets of tasks, and its cost the highest point of that path.

Whether a path stays below a bound is decided by a search that two facts keep short. A task that
fits and leaves no more alive than before may always come next. And a set D reached from S with no
more alive than in any set between the two may always be passed through: bytes alive are a
submodular function of the set, so any path that goes on from S can be bent to pass through D
without rising. A path is a row of hills within hills, and only one slope is searched at a time.

The lower bound is a cut: what lives while one task runs is at least the smallest sum over all sets
that hold everything before the task and nothing after it, which is a minimum cut.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

FROM_START = -1
"""`Value.maker` of a value that is there before the first task."""

INTERVAL_SETS_MAX = 4096
"""Sets between two ends of a hill that are looked at before the proof is given up."""

SETS_MAX = 1_000_000
"""Sets that are looked at before a decision is given up; each takes a few hundred bytes."""

INFINITE = 1 << 62

CUT_SHARE, CLIMB_SHARE = 8, 4
"""Parts of the time left that go into cuts, and into one climb."""

Tick = Callable[[int, int], None]
"""Called as tick(tasks done, tasks) now and then."""


@dataclass(frozen=True)
class Value:
    """Bytes that one task makes and others read; `stays` to the end where it is a result."""

    size_bytes: int
    maker: int
    readers: frozenset[int]
    stays: bool = False


@dataclass(frozen=True)
class Task:
    """What one task needs.

    Attributes:
        inputs, outputs: values that it reads and makes.
        after: tasks that must come before it for other reasons than values.
        own_bytes: what lives during this task only.
        over: (input, output) of one size where it may write the output over the input. No input
            stands for two outputs, and such an output is read or stays.
    """

    inputs: frozenset[int]
    outputs: tuple[int, ...]
    after: frozenset[int] = frozenset()
    own_bytes: int = 0
    over: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Problem:
    """Tasks in an order that works, and values."""

    tasks: tuple[Task, ...]
    values: tuple[Value, ...]

    @cached_property
    def before(self) -> tuple[int, ...]:
        """For each task, the set (a bit a task) of those that must come right before it."""
        masks = []
        for task in self.tasks:
            mask = 0
            for index in task.inputs:
                if self.values[index].maker != FROM_START:
                    mask |= 1 << self.values[index].maker
            for index in task.after:
                mask |= 1 << index
            masks.append(mask)
        return tuple(masks)

    @cached_property
    def next(self) -> tuple[tuple[int, ...], ...]:
        """For each task, those that wait for it."""
        found: list[list[int]] = [[] for _ in self.tasks]
        for index, mask in enumerate(self.before):
            for other in bits(mask):
                found[other].append(index)
        return tuple(map(tuple, found))

    @cached_property
    def after(self) -> tuple[int, ...]:
        """`next` as sets."""
        return tuple(sum(1 << i for i in waiting) for waiting in self.next)

    @cached_property
    def start_bytes(self) -> int:
        """Bytes alive before the first task, values that nobody reads included."""
        return sum(v.size_bytes for v in self.values if v.maker == FROM_START)

    @cached_property
    def moves(self) -> tuple[_Move, ...]:
        """What each task does to the bytes alive."""
        return tuple(_move(self, index) for index in range(len(self.tasks)))


def bits(mask: int) -> Iterator[int]:
    """The elements of a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


# What one task does


@dataclass(frozen=True)
class _Move:
    """One task from the view of the search.

    Attributes:
        bit: the set of this task alone.
        made_bytes, kept_bytes: its outputs, and those of them that live on.
        own_bytes: see `Task`.
        frees: (bytes, other readers) of inputs that die with their last reader.
        over: for outputs that may go over inputs their bytes, and the other readers of each such
            input that does not stay.
    """

    bit: int
    made_bytes: int
    kept_bytes: int
    own_bytes: int
    frees: tuple[tuple[int, int], ...]
    over: tuple[tuple[int, tuple[int, ...]], ...]

    def during(self, done: int, live_bytes: int) -> int:
        """Bytes alive while it runs after the set `done`, which leaves `live_bytes`."""
        total = live_bytes + self.made_bytes + self.own_bytes
        for size_bytes, inputs in self.over:
            if any(not others & ~done for others in inputs):
                total -= size_bytes
        return total

    def after(self, done: int, live_bytes: int) -> int:
        """Bytes alive after it."""
        live_bytes += self.kept_bytes
        for size_bytes, others in self.frees:
            if not others & ~done:
                live_bytes -= size_bytes
        return live_bytes


def overwritten(task: Task) -> dict[int, list[int]]:
    """For each output that may go over inputs, these inputs."""
    found: dict[int, list[int]] = {}
    for source, output in sorted(task.over):
        found.setdefault(output, []).append(source)
    return found


def _move(problem: Problem, index: int) -> _Move:
    task, values = problem.tasks[index], problem.values

    def others(value: Value) -> int:
        return sum(1 << reader for reader in value.readers if reader != index)

    dying = {i: others(values[i]) for i in task.inputs if not values[i].stays}
    outputs = [values[i] for i in task.outputs]
    return _Move(
        1 << index,
        sum(value.size_bytes for value in outputs),
        sum(value.size_bytes for value in outputs if value.readers or value.stays),
        task.own_bytes,
        tuple((values[i].size_bytes, mask) for i, mask in sorted(dying.items())),
        tuple(
            (values[output].size_bytes, tuple(dying[i] for i in inputs if i in dying))
            for output, inputs in overwritten(task).items()
        ),
    )


def peak_bytes(problem: Problem, order: Sequence[int]) -> int:
    """The most bytes alive at any task of an order, or before the first one."""
    peak, done, live = problem.start_bytes, 0, _first_live(problem)
    for index in order:
        move = problem.moves[index]
        peak = max(peak, move.during(done, live))
        live = move.after(done, live)
        done |= move.bit
    return peak


def _first_live(problem: Problem) -> int:
    """Bytes alive when the first task begins."""
    return sum(
        value.size_bytes
        for value in problem.values
        if value.maker == FROM_START and (value.readers or value.stays)
    )


def is_order(problem: Problem, order: Sequence[int]) -> bool:
    """Whether an order has every task once, each after all that must come before it."""
    done = 0
    for index in order:
        if problem.before[index] & ~done or done >> index & 1:
            return False
        done |= 1 << index
    return done == (1 << len(problem.tasks)) - 1


# The search


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
        self.need_bytes = INFINITE
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
        point = self._slide(_Point(0, _first_live(self.problem), ready))
        frames: list[_Frame] = []
        while point.done != self._all:
            if self.sets & 63 == 0:
                self._tick(point.done.bit_count(), len(self.problem.tasks))
                if self.sets > SETS_MAX or time.monotonic() > self._deadline:
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


# Orders to begin with


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


def frugal(problem: Problem, *, deadline: float) -> list[int] | None:
    """Always the task that leaves the fewest bytes alive, the latest made possible of equals."""
    before, moves = problem.before, problem.moves
    ready = [i for i, mask in enumerate(before) if not mask]
    done, live = 0, _first_live(problem)
    order: list[int] = []
    while ready:
        if time.monotonic() > deadline:
            return None
        slot = min(range(len(ready)), key=lambda i: (moves[ready[i]].after(done, live) - live, -i))
        index = ready.pop(slot)
        live = moves[index].after(done, live)
        done |= moves[index].bit
        order.append(index)
        ready += [i for i in problem.next[index] if not before[i] & ~done]
    return order


# The lower bound


def cut_bound(problem: Problem, index: int) -> int:
    """What lives at least while task `index` runs, in any order, in bytes."""
    move, task = problem.moves[index], problem.tasks[index]
    before, after = _related(problem, index)
    outside = after | move.bit
    over = overwritten(task)
    if len(over) > 1:
        saved = sum(problem.values[output].size_bytes for output in over)
        return _least_live(problem, before, outside) + move.made_bytes + move.own_bytes - saved
    bound = _least_live(problem, before, outside) + move.made_bytes + move.own_bytes
    for output, inputs in over.items():
        for value in (problem.values[i] for i in inputs):
            others = sum(1 << reader for reader in value.readers if reader != index)
            if not value.stays and not others & after:
                wide = others
                for other in bits(others):
                    wide |= _related(problem, other)[0]
                low = _least_live(problem, before | wide, outside)
                rest = move.made_bytes - problem.values[output].size_bytes
                bound = min(bound, low + rest + move.own_bytes)
    return bound


def _related(problem: Problem, index: int) -> tuple[int, int]:
    """All tasks that must come before one, and all that must come after it."""
    return _closure(problem.before, index), _closure(problem.after, index)


def _closure(direct: Sequence[int], index: int) -> int:
    found = 0
    fresh = direct[index]
    while fresh:
        found |= fresh
        reached = 0
        for other in bits(fresh):
            reached |= direct[other]
        fresh = reached & ~found
    return found


def _least_live(problem: Problem, inside: int, outside: int) -> int:
    """The fewest bytes alive after a set that holds `inside` and nothing of `outside`.

    A set is everything on the source's side of a cut: a value costs its bytes where its maker is
    inside and a reader outside, and a task inside takes all before it along.
    """
    flow = _Flow()
    node: dict[int, int] = {}

    def side(task: int) -> int:
        if task == FROM_START or inside >> task & 1:
            return _Flow.SOURCE
        if outside >> task & 1:
            return _Flow.SINK
        if task not in node:
            node[task] = flow.add_node()
        return node[task]

    for value in problem.values:
        maker = side(value.maker)
        readers = {side(reader) for reader in value.readers}
        if value.stays:
            readers = {_Flow.SINK}
        readers.discard(_Flow.SOURCE)
        if maker == _Flow.SINK or not readers:
            continue
        if _Flow.SINK in readers:
            readers = {_Flow.SINK}
        middle = flow.add_node()
        flow.add_edge(maker, middle, value.size_bytes)
        for reader in readers:
            flow.add_edge(middle, reader, INFINITE)
    for task, start in list(node.items()):
        for other in bits(problem.before[task]):
            end = side(other)
            if end != _Flow.SOURCE:
                flow.add_edge(start, end, INFINITE)
    return flow.run()


class _Flow:
    """Maximum flow from SOURCE to SINK, by shortest augmenting paths in layers (Dinic)."""

    SOURCE, SINK = 0, 1

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]
        self._to: list[int] = []
        self._room: list[int] = []

    def add_node(self) -> int:
        """A new node's number."""
        self._edges.append([])
        return len(self._edges) - 1

    def add_edge(self, start: int, end: int, room: int) -> None:
        """An edge that takes up to `room`."""
        for one, other, free in ((start, end, room), (end, start, 0)):
            self._edges[one].append(len(self._to))
            self._to.append(other)
            self._room.append(free)

    def run(self) -> int:
        """The largest flow."""
        total = 0
        while (layers := self._layers())[self.SINK] >= 0:
            unused = [iter(edges) for edges in self._edges]
            while pushed := self._push(layers, unused):
                total += pushed
        return total

    def _layers(self) -> list[int]:
        layers = [-1] * len(self._edges)
        layers[self.SOURCE] = 0
        queue = [self.SOURCE]
        for node in queue:
            for edge in self._edges[node]:
                end = self._to[edge]
                if self._room[edge] and layers[end] < 0:
                    layers[end] = layers[node] + 1
                    queue.append(end)
        return layers

    def _push(self, layers: list[int], unused: list[Iterator[int]]) -> int:
        """One path through the layers; edges that lead nowhere are dropped from `unused`."""
        path: list[int] = []
        node = self.SOURCE
        while node != self.SINK:
            for edge in unused[node]:
                if self._room[edge] and layers[self._to[edge]] == layers[node] + 1:
                    path.append(edge)
                    break
            else:
                if not path:
                    return 0
                layers[node] = -1
                path.pop()
            node = self._to[path[-1]] if path else self.SOURCE
        room = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= room
            self._room[edge ^ 1] += room
        # The last edge of each node on the path may have room left: it must be tried again.
        node = self.SOURCE
        for edge in path:
            if self._room[edge]:
                unused[node] = itertools.chain((edge,), unused[node])
            node = self._to[edge]
        return room


# All together


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
        time_limit_s: when to stop with what is known; simple orders are tried in any case.
        tick: called now and then.
    """
    start = time.monotonic()
    deadline = start + time_limit_s
    given = list(range(len(problem.tasks)))
    found = Found([given], peak_bytes(problem, given), problem.start_bytes)
    _offer(problem, found, depth_first(problem))
    _offer(problem, found, depth_first(problem, by_depth=True))
    thrifty = frugal(problem, deadline=start + time_limit_s / 4)
    if thrifty is not None:
        _offer(problem, found, thrifty)
    _close(problem, found, deadline, tick)
    return found


def _close(problem: Problem, found: Found, deadline: float, tick: Tick) -> None:
    """Lower the best peak and raise the bound until they meet or the time is over.

    `hopeless` is the highest bound below which no order was found, refuted or given up.
    """
    cuts: dict[int, int] = {}
    hopeless = -1
    while not found.optimal and (left := deadline - time.monotonic()) > 0:
        settled = _raise_bound(problem, found, cuts, time.monotonic() + left / CUT_SHARE)
        if hopeless < found.peak_bytes - 1 and not found.optimal:
            # The cut is often the answer, so it is tried before the range is halved.
            lowest = found.lower_bound_bytes
            bound = lowest if hopeless < lowest else (hopeless + found.peak_bytes) // 2
            share = (deadline - time.monotonic()) / CLIMB_SHARE
            climb = Climb(problem, bound, found.best, deadline=time.monotonic() + share, tick=tick)
            if climb.order is not None:
                _offer(problem, found, climb.order)
            else:
                hopeless = bound
            if climb.refuted:
                found.lower_bound_bytes = max(found.lower_bound_bytes, climb.need_bytes)
        elif settled:
            return


def equals(problem: Problem, found: Found, *, deadline: float, tick: Tick) -> Iterator[list[int]]:
    """Orders of the best peak found, that order first, of which some may pack better."""
    yield found.best
    for guide in (depth_first(problem, by_depth=True), depth_first(problem), found.orders[0]):
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
    done, live = 0, _first_live(problem)
    for index in found.best:
        move = problem.moves[index]
        costs.append((move.during(done, live), index))
        live = move.after(done, live)
        done |= move.bit
    for cost, index in sorted(costs, reverse=True):
        if cost <= found.lower_bound_bytes:
            return True
        if index not in cuts:
            if time.monotonic() > deadline:
                return False
            cuts[index] = cut_bound(problem, index)
        found.lower_bound_bytes = max(found.lower_bound_bytes, cuts[index])
    return True
