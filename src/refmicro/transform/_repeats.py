"""Operators that come again: where a list of them repeats, and cuts that follow the repetition.

Two operators are alike where they compute the same from values of the same types and the same
constants. A run in which each operator is like the one a period later is a candidate; whether its
parts are one model, byte for byte, is found when they are made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refmicro.model.graph import Operator, Subgraph
from refmicro.transform._cuts import NEVER, Costs, Flow, Path, fewest_between
from refmicro.transform._draft import quantum

RUNS_MAX = 2
"""Repetitions that are looked at, those with the most operators first."""

PHASES_MAX = 4
"""Places within the period where parts may begin, those at which least is carried."""

TIMES_MIN = 3
"""Fewer repetitions are no gain worth a search."""

PERIOD_MAX = 2000
"""Longer periods are not looked for."""


@dataclass(frozen=True)
class Run:
    """Operators [start, end) that repeat every `period`."""

    start: int
    end: int
    period: int

    def times(self, start: int) -> int:
        """How often the period fits from a place on."""
        return (self.end - start) // self.period


def runs(graph: Subgraph) -> list[Run]:
    """Repetitions in a list of operators, the longest first, shortest period of each."""
    kinds = _kinds(graph)
    found: list[Run] = []
    for period in range(1, min(len(kinds) // TIMES_MIN, PERIOD_MAX) + 1):
        alike = np.concatenate([[False], kinds[:-period] == kinds[period:], [False]])
        change = np.diff(alike.astype(np.int8))
        for start, end in zip(
            np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True
        ):
            run = Run(start, end + period, period)
            inside = any(r.start <= start and run.end <= r.end for r in found)
            if run.times(start) >= TIMES_MIN and not inside:
                found.append(run)
    return sorted(found, key=lambda run: (run.start - run.end, run.period))[:RUNS_MAX]


def _kinds(graph: Subgraph) -> np.ndarray:
    """Numbers of operators, equal where they are alike."""
    numbers: dict[tuple, int] = {}
    return np.array([numbers.setdefault(_kind(graph, op), len(numbers)) for op in graph.operators])


def _kind(graph: Subgraph, op: Operator) -> tuple:
    def described(index: int) -> tuple:
        if index < 0:
            return ()
        item = graph.tensors[index]
        data = hash(bytes(item.data)) if item.is_constant else None
        return item.dtype, item.shape, quantum(item), data

    sides = (tuple(map(described, side)) for side in (op.inputs, op.outputs, op.intermediates))
    return op.code, repr(sorted(op.options.items())), op.custom_options, *sides


def repeated_cuts(flow: Flow) -> Iterator[list[int]]:
    """Lists of cuts, each a period apart."""
    for run in runs(flow.graph):
        lists = []
        for start in range(run.start, run.start + run.period):
            times = run.times(start)
            cuts = [start + run.period * i for i in range(times + 1)]
            if times >= TIMES_MIN and all(flow.allowed[cut] for cut in cuts):
                lists.append(cuts)
        lists.sort(key=lambda cuts: max(flow.carried_bytes[cut] for cut in cuts))
        yield from lists[:PHASES_MAX]


def around(costs: Costs, cuts: list[int], limit_bytes: int) -> Path | None:
    """The fewest parts within a limit that go through all these cuts and no others between."""
    middle: Path = []
    for start, end in itertools.pairwise(cuts):
        row = costs.rows[start]
        if end - start > len(row) or row[end - start - 1] > min(limit_bytes, NEVER - 1):
            return None
        middle.append((start, end))
    front = fewest_between(costs, limit_bytes, 0, cuts[0])
    back = fewest_between(costs, limit_bytes, cuts[-1], costs.count)
    if front is None or back is None:
        return None
    return [*front, *middle, *back]
