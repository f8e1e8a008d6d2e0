"""Tasks and values: what lives while tasks run in some order.

A task reads values and makes values. A value lives from the task that makes it (or from the start)
to its last reader (or to the end). The cost of an order is the most bytes alive at any task, with
what the task needs for itself. What lives after a set of tasks does not depend on their order, so
an order is a path through sets of tasks, and its cost the highest point of that path. A set is an
integer with a bit for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

FROM_START = -1
"""`Value.maker` of a value that is there before the first task."""

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
    def moves(self) -> tuple[Move, ...]:
        """What each task does to the bytes alive."""
        return tuple(_move(self, index) for index in range(len(self.tasks)))


def bits(mask: int) -> Iterator[int]:
    """The elements of a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(frozen=True)
class Move:
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


def _move(problem: Problem, index: int) -> Move:
    task, values = problem.tasks[index], problem.values

    def others(value: Value) -> int:
        return sum(1 << reader for reader in value.readers if reader != index)

    dying = {i: others(values[i]) for i in task.inputs if not values[i].stays}
    outputs = [values[i] for i in task.outputs]
    return Move(
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
    peak, done, live = problem.start_bytes, 0, first_live_bytes(problem)
    for index in order:
        move = problem.moves[index]
        peak = max(peak, move.during(done, live))
        live = move.after(done, live)
        done |= move.bit
    return peak


def first_live_bytes(problem: Problem) -> int:
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
