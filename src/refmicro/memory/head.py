"""The head of the arena: which buffers TFLM plans, where they go, and how many live at each step.

Planned are tensors without data of their own, variables only where an offline plan places them, and
scratch buffers; tensors of all subgraphs by index, then scratch buffers in order of request. Every
size is rounded up to 16 bytes.

Source: `CreatePlan` in `tensorflow/lite/micro/micro_allocator.cc`, `InitializeAllocationInfo` in
`tensorflow/lite/micro/micro_allocation_info.cc`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from refmicro.errors import UnsupportedError
from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.memory.greedy_planner import Buffer, greedy_plan, plan_bytes
from refmicro.memory.lifetimes import Lifetimes
from refmicro.memory.offline_plan import ONLINE, offline_plan
from refmicro.program import Program, place

_DATA_IN_TAIL = frozenset({"VAR_HANDLE"})
"""Operators that point their output at their own data while preparing, so it is not planned."""


class PlannedTensor(NamedTuple):
    """A tensor in the plan; `offset` counts from the arena's start, None where TFLM plans none."""

    bytes: int
    offset: int | None
    first_time_used: int
    last_time_used: int


class PlannedScratch(NamedTuple):
    """A scratch buffer in the plan; times are the operator's first and last step."""

    bytes: int
    offset: int
    first_time_used: int
    last_time_used: int


@dataclass(frozen=True, eq=False)
class HeadPlan:
    """The memory plan of all subgraphs.

    Attributes:
        head_bytes: its size.
        buffers: number of planned buffers.
        tensors: by subgraph and tensor.
        scratch: by (subgraph, operator), in order of request; only operators that have some.
        offline: the model's offline plan, None where it has none.
        live_bytes: at each step, bytes of planned buffers that must live, each rounded up to 16.
    """

    head_bytes: int
    buffers: int
    tensors: tuple[tuple[PlannedTensor, ...], ...]
    scratch: Mapping[tuple[int, int], tuple[PlannedScratch, ...]]
    offline: tuple[tuple[int, ...], ...] | None
    live_bytes: tuple[int, ...]


class _Request(NamedTuple):
    """One request for a scratch buffer."""

    subgraph: int
    operator: int
    bytes: int
    first_time_used: int
    last_time_used: int


def head_plan(program: Program, clock: Lifetimes) -> HeadPlan:
    """The plan that TFLM makes for a prepared model.

    Raises:
        UnsupportedError: if TFLM refuses the model's offline plan, or if an operator with scratch
            buffers lies in a subgraph that nothing runs: TFLM then plans with garbage and crashes.
        InvalidModelError: if the offline plan is damaged.
    """
    offline = offline_plan(program.model)
    slots, buffers, variables = _tensor_buffers(program, clock, offline)
    requests = _scratch_requests(program, clock)
    planned_tensors = len(buffers)
    buffers += [Buffer(align(item.bytes, BUFFER_ALIGNMENT_BYTES), *item[3:]) for item in requests]
    offsets = greedy_plan(buffers)
    scratch: dict[tuple[int, int], tuple[PlannedScratch, ...]] = {}
    for offset, item in zip(offsets[planned_tensors:], requests, strict=True):
        key = (item.subgraph, item.operator)
        planned = PlannedScratch(item.bytes, offset, *item[3:])
        scratch[key] = (*scratch.get(key, ()), planned)
    return HeadPlan(
        plan_bytes(buffers, offsets),
        len(buffers),
        _planned_tensors(program, clock, slots, offsets),
        scratch,
        offline,
        _live_bytes(buffers, variables, clock.steps),
    )


def _tensor_buffers(
    program: Program, clock: Lifetimes, offline: tuple[tuple[int, ...], ...] | None
) -> tuple[list[list[int | None]], list[Buffer], set[int]]:
    """The buffer of each tensor, None where it has none; all buffers; those of variables."""
    slots: list[list[int | None]] = []
    buffers: list[Buffer] = []
    variables: set[int] = set()
    for graph, subgraph in enumerate(program.model.subgraphs):
        in_tail = {
            tensor
            for node in program.nodes[graph]
            if node.name in _DATA_IN_TAIL
            for tensor in node.operator.outputs
        }
        first, last = clock.first_time_used[graph], clock.last_time_used[graph]
        slots.append([])
        for index, tensor in enumerate(subgraph.tensors):
            offset = ONLINE if offline is None else offline[graph][index]
            if tensor.is_variable:
                needed = offset != ONLINE
            else:
                needed = tensor.data is None and index not in in_tail and tensor.nbytes != 0
            slots[-1].append(len(buffers) if needed else None)
            if needed:
                if tensor.is_variable:
                    variables.add(len(buffers))
                size = align(tensor.nbytes, BUFFER_ALIGNMENT_BYTES)
                buffers.append(Buffer(size, first[index], last[index], offset))
    return slots, buffers, variables


def _planned_tensors(
    program: Program, clock: Lifetimes, slots: list[list[int | None]], offsets: list[int]
) -> tuple[tuple[PlannedTensor, ...], ...]:
    return tuple(
        tuple(
            PlannedTensor(tensor.nbytes, None if slot is None else offsets[slot], first, last)
            for tensor, slot, first, last in zip(
                subgraph.tensors,
                slots[graph],
                clock.first_time_used[graph],
                clock.last_time_used[graph],
                strict=True,
            )
        )
        for graph, subgraph in enumerate(program.model.subgraphs)
    )


def _scratch_requests(program: Program, clock: Lifetimes) -> list[_Request]:
    requests = []
    for graph, nodes in enumerate(program.nodes):
        for node in nodes:
            if not node.scratch_bytes:
                continue
            first, last = clock.scratch[graph][node.index]
            if first < 0:
                raise UnsupportedError(
                    f"{place(graph, node.index, node.name)}: an operator with scratch buffers must "
                    "lie in a subgraph that runs: nothing runs this one",
                    hint="remove the subgraph; TFLM crashes on it",
                )
            requests += [
                _Request(graph, node.index, size, first, last) for size in node.scratch_bytes
            ]
    return requests


def _live_bytes(buffers: list[Buffer], variables: set[int], steps: int) -> tuple[int, ...]:
    """Sums at each step; variables must stay whole from one invocation to the next."""
    change = [0] * (steps + 1)
    for index, (size, first, last, _) in enumerate(buffers):
        if index in variables:
            first, last = 0, steps - 1
        if last >= 0:
            change[max(first, 0)] += size
            change[last + 1] -= size
    return tuple(itertools.accumulate(change[:-1]))
