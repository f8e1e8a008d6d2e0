"""What must live at least while a task runs, whatever the order: a minimum cut.

The least is taken over all sets of tasks that hold everything before the task and nothing after it.
A set is everything on the source's side of a cut: a value costs its bytes where its maker is inside
and a reader outside, and a task inside takes all before it along.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from refmicro.transform._tasks import FROM_START, Problem, bits, overwritten

INFINITE = 1 << 62


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
    """The fewest bytes alive after a set that holds `inside` and nothing of `outside`."""
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
