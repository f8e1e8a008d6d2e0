"""Why a tensor or scratch buffer lies where it lies, and what one allocation in the tail is.

The head is TFLM's plan: the largest buffer first, each at the lowest place that is free through its
life. That is replayed here buffer by buffer, up to the one that is asked for, and must come to the
offset that the arena model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refmicro.errors import DifferenceError, UsageError
from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.memory.arena import Arena, model_arena
from refmicro.memory.offline_plan import ONLINE, offline_plan
from refmicro.model.graph import Model
from refmicro.program import Program, place, prepare_model
from refmicro.types import TflmBuild


@dataclass(frozen=True)
class Buffer:
    """One buffer of the plan.

    Attributes:
        label: `SUBGRAPH:TENSOR`, or the operator whose scratch buffer it is.
        bytes: rounded up to 16.
        first, last: steps of its life, both inclusive.
        offset: from the arena's start.
        offline: whether an offline plan placed it.
    """

    label: str
    bytes: int
    first: int
    last: int
    offset: int
    offline: bool

    def meets(self, other: Buffer) -> bool:
        """Whether both live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class PlaceExplanation:
    """How the planner came to a place.

    Attributes:
        buffer: what was asked for.
        turn, turns: it was placed as number `turn` of `turns`, from 1 on.
        neighbours: buffers placed before it that live at one time with it, by offset.
        gaps: free ranges between these that were too small: (offset, bytes).
        above: the end of the neighbour right below, 0 at the arena's start.
        what: what it is, in one sentence.
    """

    buffer: Buffer
    turn: int
    turns: int
    neighbours: tuple[Buffer, ...]
    gaps: tuple[tuple[int, int], ...]
    above: int
    what: str


@dataclass(frozen=True)
class TailExplanation:
    """An allocation that is not in the plan, or none at all: one sentence for each fact."""

    label: str
    sentences: tuple[str, ...]


Explanation = PlaceExplanation | TailExplanation


def explain_tensor(model: Model, subgraph: int, tensor: int, build: TflmBuild) -> Explanation:
    """Why a tensor lies where it does.

    Raises:
        UsageError: if there is no such tensor.
        DifferenceError: if the replay comes to another offset, a fault of refmicro.
    """
    if not 0 <= subgraph < len(model.subgraphs):
        raise UsageError(f"a subgraph must be below {len(model.subgraphs)}: {subgraph}")
    graph = model.subgraphs[subgraph]
    if not 0 <= tensor < len(graph.tensors):
        raise UsageError(
            f"a tensor of subgraph {subgraph} must be below {len(graph.tensors)}: {tensor}"
        )
    program = prepare_model(model, build)
    arena = model_arena(program)
    label = f"{subgraph}:{tensor}"
    if arena.tensors[subgraph][tensor].offset is None:
        return TailExplanation(label, _not_planned(program, arena, subgraph, tensor))
    return _explained(program, arena, label)


def explain_allocation(model: Model, number: int, build: TflmBuild) -> Explanation:
    """One allocation: planned buffers in the planner's order, then the tail's in order.

    Raises:
        UsageError: if there are fewer.
        DifferenceError: see `explain_tensor`.
    """
    program = prepare_model(model, build)
    arena = model_arena(program)
    order = _in_turn(_buffers(program, arena))
    count = len(order) + len(arena.trace)
    if not 0 <= number < count:
        raise UsageError(
            f"an allocation must be below {count}: {number}",
            hint=f"0 to {len(order) - 1} are planned buffers, the rest is in the tail",
        )
    if number < len(order):
        return _explained(program, arena, order[number].label)
    return TailExplanation(*_tail(program, arena, number - len(order)))


def _explained(program: Program, arena: Arena, label: str) -> PlaceExplanation:
    order = _in_turn(_buffers(program, arena))
    turn = next(i for i, buffer in enumerate(order) if buffer.label == label)
    buffer = order[turn]
    neighbours = sorted(
        (other for other in order[:turn] if other.meets(buffer)),
        key=lambda other: (other.offset, other.bytes),
    )
    gaps, above = _first_fit(neighbours, buffer.bytes)
    if not buffer.offline and above != buffer.offset:
        raise DifferenceError(
            f"the replayed plan must place {label} at {buffer.offset}: {above}",
            hint="this is a fault of refmicro; please report the model",
        )
    return PlaceExplanation(
        buffer,
        turn + 1,
        len(order),
        tuple(neighbours),
        tuple(gaps),
        above,
        _what(program, arena, buffer),
    )


def _buffers(program: Program, arena: Arena) -> list[Buffer]:
    """All planned buffers in the order in which TFLM adds them."""
    plan = offline_plan(program.model)
    found = []
    for graph, tensors in enumerate(arena.tensors):
        for index, item in enumerate(tensors):
            if item.offset is not None:
                offline = plan is not None and plan[graph][index] != ONLINE
                found.append(_buffer(f"{graph}:{index}", item, offline))
    for (graph, operator), items in arena.scratch.items():
        for number, item in enumerate(items):
            name = place(graph, operator, program.nodes[graph][operator].name)
            found.append(_buffer(f"scratch buffer {number} of {name}", item, False))
    return found


def _buffer(label: str, item: object, offline: bool) -> Buffer:
    size = align(item.bytes, BUFFER_ALIGNMENT_BYTES)
    return Buffer(label, size, item.first_time_used, item.last_time_used, item.offset, offline)


def _in_turn(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Offline ones first, as they come; then the largest first, of equals the last one."""
    online = [buffer for buffer in reversed(buffers) if not buffer.offline]
    online.sort(key=lambda buffer: -buffer.bytes)
    return [*(buffer for buffer in buffers if buffer.offline), *online]


def _first_fit(neighbours: Sequence[Buffer], size_bytes: int) -> tuple[list[tuple[int, int]], int]:
    """Gaps that were too small, and the place."""
    gaps, low = [], 0
    for other in neighbours:
        room = other.offset - low
        if room >= size_bytes:
            break
        if room > 0:
            gaps.append((low, room))
        low = max(low, other.offset + other.bytes)
    return gaps, low


# In words


def _what(program: Program, arena: Arena, buffer: Buffer) -> str:
    """Why it lives as long as it does."""
    first, last = (_step(arena, program, step) for step in (buffer.first, buffer.last))
    if buffer.first == buffer.last:
        return f"lives at step {buffer.first} alone, {first}"
    return f"lives from step {buffer.first}, {first}, to step {buffer.last}, {last}"


def _step(arena: Arena, program: Program, step: int) -> str:
    if not 0 <= step < len(arena.timeline):
        return "the end"
    item = arena.timeline[step]
    if item.operator is None:
        return f"the start of subgraph {item.subgraph}"
    return place(item.subgraph, item.operator, program.nodes[item.subgraph][item.operator].name)


def _not_planned(program: Program, arena: Arena, graph: int, index: int) -> tuple[str, ...]:
    tensor = program.model.subgraphs[graph].tensors[index]
    if tensor.is_constant:
        return (
            f"it is a constant of {tensor.nbytes} bytes, read where it lies in the model's file",
            "its eval tensor in the tail points there; it takes nothing else of the arena",
        )
    if tensor.is_variable:
        mine = [
            item
            for item in arena.trace
            if item.category == "variables" and (item.subgraph, item.index) == (graph, index)
        ]
        where = f", {mine[0].end_bytes} bytes below the arena's end" if mine else ""
        return (
            f"it is a variable: its {tensor.nbytes} bytes are in the tail{where}, where they stay",
            "an offline plan may place it in the head instead",
        )
    if tensor.nbytes == 0:
        return ("it has no elements, so nothing is planned for it",)
    return ("its operator points it at data of its own while preparing",)


def _tail(program: Program, arena: Arena, number: int) -> tuple[str, tuple[str, ...]]:
    item = arena.trace[number]
    owner = "all"
    if item.subgraph >= 0 and item.index >= 0:
        owner = f"number {item.index} of subgraph {item.subgraph}"
    elif item.subgraph >= 0:
        owner = f"subgraph {item.subgraph}"
    category = item.category or "none of the recording allocator's categories"
    lost = item.used_bytes - item.requested_bytes
    return (
        item.what,
        (
            f"{item.requested_bytes} bytes are asked for {item.what}, for {owner}",
            f"aligned to {item.alignment_bytes} they take {item.used_bytes} bytes, {lost} of them "
            "for alignment",
            f"the block begins {item.end_bytes} bytes below the arena's end",
            f"counted as: {category}",
        ),
    )
