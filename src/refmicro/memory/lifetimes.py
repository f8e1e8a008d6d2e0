"""When each buffer is used: the clock of TFLM's `AllocationInfoBuilder`.

The clock starts at 0, where the graph's inputs come in. It ticks once for every operator and once
on entering a subgraph that an operator runs; the called subgraphs tick on within the caller's step,
so a buffer of the caller that is used at a call lives through all of it. A tensor lives from the
step of the operator that writes it to the last step that reads it; a graph's outputs live to its
end. A buffer that nothing uses keeps (-1, -1) and is planned all the same. A subgraph that several
operators run is planned once: its buffers live from the first run to the last.

Source: `MarkAllocationLifetimes` in `tensorflow/lite/micro/micro_allocation_info.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from refmicro.errors import UnsupportedError
from refmicro.program import Program

UNUSED = -1
"""`kUninitializedLifetime`: never used in this direction."""

MAX_STEPS = 1 << 22
"""Longest clock that is planned. TFLM's own planning time grows with it, without a limit."""


class Step(NamedTuple):
    """What happens at one step of the clock.

    `operator` is None where the subgraph is entered and its inputs come in.
    """

    subgraph: int
    operator: int | None


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """First and last step of every buffer, both inclusive, -1 where there is none.

    Attributes:
        first_time_used, last_time_used: by subgraph and tensor.
        scratch: first and last step of each operator, by subgraph and operator; its scratch
            buffers live that long.
        steps: number of steps of the clock.
        calls: for each subgraph the callees in order, each with its operator.
        operators: number of operators of each subgraph.
    """

    first_time_used: tuple[list[int], ...]
    last_time_used: tuple[list[int], ...]
    scratch: tuple[list[tuple[int, int]], ...]
    steps: int
    calls: tuple[dict[int, tuple[int, ...]], ...]
    operators: tuple[int, ...]

    def timeline(self) -> list[Step]:
        """What happens at each step of the clock, `steps` entries."""
        done: dict[int, list[Step]] = {}
        for graph in _callees_first(self.calls):
            steps = [Step(graph, None)]
            for index in range(self.operators[graph]):
                steps.append(Step(graph, index))
                for callee in self.calls[graph].get(index, ()):
                    steps += done[callee]
            done[graph] = steps
        return done[0]


def lifetimes(program: Program) -> Lifetimes:
    """Lifetimes of all tensors and scratch buffers of a program.

    Raises:
        UnsupportedError: if the clock passes `MAX_STEPS`, which only nested calls can do.
    """
    calls = tuple(
        {node.index: node.subgraphs for node in nodes if node.subgraphs} for nodes in program.nodes
    )
    relative: dict[int, _Relative] = {}
    order = _callees_first(calls)
    for graph in order:
        relative[graph] = _relative(program, graph, relative)
    steps = relative[0].steps
    if steps > MAX_STEPS:
        raise UnsupportedError(
            f"nested subgraph calls must take at most {MAX_STEPS} steps of TFLM's planner: "
            f"this model takes {steps}",
            hint="call each subgraph from fewer places",
        )
    return _absolute(program, relative, order, calls)


@dataclass
class _Relative:
    """Lifetimes within one run of a subgraph, counted from its first step."""

    first: list[int]
    last: list[int]
    operators: list[tuple[int, int]]
    sites: list[tuple[int, int]]
    steps: int


def _relative(program: Program, graph: int, callees: dict[int, _Relative]) -> _Relative:
    subgraph = program.model.subgraphs[graph]
    first = [UNUSED] * len(subgraph.tensors)
    last = [UNUSED] * len(subgraph.tensors)
    operators: list[tuple[int, int]] = []
    sites: list[tuple[int, int]] = []
    clock = 0
    for tensor in subgraph.inputs:
        first[tensor] = last[tensor] = 0
    for node in program.nodes[graph]:
        clock += 1
        start = clock
        for callee in node.subgraphs:
            sites.append((callee, clock + 1))
            clock += callees[callee].steps
        for tensor in node.operator.inputs:
            if tensor >= 0:
                last[tensor] = clock
        for tensor in node.operator.outputs:
            if first[tensor] == UNUSED:
                first[tensor] = start
            last[tensor] = clock
        operators.append((start, clock))
    for tensor in subgraph.outputs:
        if first[tensor] == UNUSED:
            first[tensor] = clock
        last[tensor] = clock
    return _Relative(first, last, operators, sites, clock + 1)


def _absolute(
    program: Program,
    relative: dict[int, _Relative],
    order: list[int],
    calls: tuple[dict[int, tuple[int, ...]], ...],
) -> Lifetimes:
    """Shift each subgraph to its first and last run; subgraphs that never run keep -1."""
    runs: dict[int, tuple[int, int]] = {0: (0, 0)}
    for graph in reversed(order):
        begin, end = runs[graph]
        for callee, offset in relative[graph].sites:
            known = runs.get(callee, (begin + offset, end + offset))
            runs[callee] = (min(known[0], begin + offset), max(known[1], end + offset))
    first, last, scratch = [], [], []
    for graph, subgraph in enumerate(program.model.subgraphs):
        count = len(subgraph.tensors)
        if graph not in runs:
            first.append([UNUSED] * count)
            last.append([UNUSED] * count)
            scratch.append([(UNUSED, UNUSED)] * len(subgraph.operators))
            continue
        begin, end = runs[graph]
        inner = relative[graph]
        first.append([time + begin if time != UNUSED else UNUSED for time in inner.first])
        last.append([time + end if time != UNUSED else UNUSED for time in inner.last])
        scratch.append([(start + begin, stop + end) for start, stop in inner.operators])
    return Lifetimes(
        tuple(first),
        tuple(last),
        tuple(scratch),
        relative[0].steps,
        calls,
        tuple(len(graph.operators) for graph in program.model.subgraphs),
    )


def _callees_first(calls: tuple[dict[int, tuple[int, ...]], ...]) -> list[int]:
    """Subgraphs that subgraph 0 reaches, each after all that it calls and 0 last."""
    order: list[int] = []
    seen = {0}
    stack = [(0, iter([c for group in calls[0].values() for c in group]))]
    while stack:
        graph, callees = stack[-1]
        callee = next((c for c in callees if c not in seen), None)
        if callee is None:
            order.append(graph)
            stack.pop()
        else:
            seen.add(callee)
            stack.append((callee, iter([c for group in calls[callee].values() for c in group])))
    return order
