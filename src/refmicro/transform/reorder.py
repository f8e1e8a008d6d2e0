"""Operators in the order that keeps the fewest bytes alive, proven where the time allows.

TFLM runs operators in the order of the file and keeps every tensor from the operator that writes it
to the last one that reads it. Any order in which each operator follows those that it depends on
gives the same numbers, and the memory that is alive at one time can differ by a factor. State,
control flow, and variables that are written keep their order, see `_effects`.

What counts is the sum of live buffers, each rounded up to 16 bytes, which no memory plan can go
below and which `plan` reaches in most cases. TFLM's own planner needs more for some orders than
for others of the same sum, so the orders found on the way are measured with it and the best one is
taken, the source's included.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.memory.arena import Arena, model_arena
from refmicro.memory.offline_plan import with_offline_plan
from refmicro.model.graph import Model
from refmicro.program import Program, prepare_model
from refmicro.transform._effects import forced_order
from refmicro.transform._polish import greedy_height, packed_height, polish
from refmicro.transform._schedule import Found, equals, find_schedule
from refmicro.transform._tasks import FROM_START, Problem, Task, Value, peak_bytes
from refmicro.transform.in_place import like_pairs
from refmicro.types import TflmBuild

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""

SEARCH_SHARE = 0.5
"""Part of the time for the lowest peak; the rest is for an order of that peak that packs well."""


@dataclass(frozen=True)
class Reordered:
    """The model in its new order.

    Attributes:
        model: the result; the source itself where no order was better. A new order has no offline
            plan, because that holds for one order only.
        moved: operators that stand in another place.
        source_peak_bytes, peak_bytes: most bytes alive at one time, of planned buffers, before and
            after.
        lower_bound_bytes: no order of these operators has fewer.
    """

    model: Model
    moved: int
    source_peak_bytes: int
    peak_bytes: int
    lower_bound_bytes: int

    @property
    def optimal(self) -> bool:
        """Whether no order keeps fewer bytes alive."""
        return self.peak_bytes == self.lower_bound_bytes


def reorder(
    model: Model,
    *,
    build: TflmBuild | None = None,
    in_place: bool = False,
    time_limit_s: float = 10.0,
    progress: Progress = lambda what, done, total: None,
) -> Reordered:
    """The order of operators with the smallest peak that the time allows to find.

    Args:
        model: any model.
        build: the TFLM whose arena counts; a Cortex-M firmware by default.
        in_place: count as `plan` does, which lets elementwise operators write over their input;
            without it orders are judged by the arena that TFLM's own planner needs.
        time_limit_s: of computing, for the search; the result says whether it is proven.
        progress: called now and then.

    Raises:
        UnsupportedError, InvalidModelError: if the model is refused.
    """
    build = build or TflmBuild.firmware()
    source = with_offline_plan(model, None)
    program = prepare_model(source, build)
    graphs = _search(program, in_place, time_limit_s, progress)
    best: tuple[int, ...] | None = None
    choices = _choices(graphs)
    for number, choice in enumerate(choices):
        progress("measuring orders", number, len(choices))
        candidate = _rebuilt(model, source, choice)
        arena = model_arena(prepare_model(candidate, build))
        key = (arena.required_bytes, arena.used_bytes)
        if in_place:
            key = _planned_key(arena, packed_height(graphs[0].problem, choice[0]))
        if best is None or key < best:
            best, result, orders = key, candidate, choice
    main = graphs[0]
    return Reordered(
        result,
        sum(index != place for order in orders.values() for place, index in enumerate(order)),
        peak_bytes(main.problem, main.given),
        peak_bytes(main.problem, orders[0]),
        main.lower_bound_bytes,
    )


def _planned_key(arena: Arena, head_bytes: int) -> tuple[int, int]:
    """Required and used bytes, were the head as small as it packs."""
    used = head_bytes + arena.tail_bytes
    others = [peak.bytes for peak in arena.peaks if peak.phase != "final"]
    return align(max(used, *others), BUFFER_ALIGNMENT_BYTES), used


def _rebuilt(model: Model, source: Model, orders: dict[int, list[int]]) -> Model:
    """`source` with its operators in these orders; `model` itself where nothing moves."""
    if all(order == sorted(order) for order in orders.values()):
        return model
    graphs = list(source.subgraphs)
    for graph, order in orders.items():
        operators = tuple(graphs[graph].operators[index] for index in order)
        graphs[graph] = dataclasses.replace(graphs[graph], operators=operators)
    return dataclasses.replace(source, subgraphs=tuple(graphs), source=None)


@dataclass(frozen=True)
class _Graph:
    """The search in one subgraph.

    Attributes:
        problem: its operators as tasks.
        found: what the search knows.
        slack_bytes: by how much `problem` may count too much, because a subgraph that is run
            inside could have a better order.
    """

    problem: Problem
    found: Found
    slack_bytes: int

    @property
    def given(self) -> list[int]:
        """The source's order."""
        return self.found.orders[0]

    @property
    def lower_bound_bytes(self) -> int:
        """No order has fewer bytes alive at its peak."""
        return self.found.lower_bound_bytes - self.slack_bytes


def _choices(graphs: dict[int, _Graph]) -> list[dict[int, list[int]]]:
    """Orders worth measuring, the source's first: every one found for the main subgraph."""
    best = {graph: item.found.best for graph, item in graphs.items()}
    choices = [{graph: item.given for graph, item in graphs.items()}]
    choices += [best | {0: order} for order in graphs[0].found.orders]
    return [choice for i, choice in enumerate(choices) if choice not in choices[:i]]


def _search(
    program: Program, in_place: bool, time_limit_s: float, progress: Progress
) -> dict[int, _Graph]:
    """The best orders of all subgraphs that run, those that others run first."""
    order = _callees_first(program)
    operators = sum(len(program.nodes[graph]) for graph in order) or 1
    arena = model_arena(program)
    graphs: dict[int, _Graph] = {}
    deadline = time.process_time() + time_limit_s
    for graph in order:
        left = max(deadline - time.process_time(), 0.0)
        share = len(program.nodes[graph]) / operators
        operators -= len(program.nodes[graph])

        def tick(done: int, total: int) -> None:
            progress("ordering operators", done, total)

        problem, slack = _problem(program, graph, arena, in_place, graphs)
        limit = left * share if operators else left
        found = find_schedule(problem, time_limit_s=limit * SEARCH_SHARE, tick=tick)
        if graph == 0:
            height = packed_height if in_place else greedy_height
            found.orders.append(_packs_well(problem, found, height, deadline, tick))
        graphs[graph] = _Graph(problem, found, slack)
    return graphs


def _packs_well(
    problem: Problem,
    found: Found,
    height: Callable[[Problem, Sequence[int]], int],
    deadline: float,
    tick: Callable[[int, int], None],
) -> list[int]:
    """An order of the best peak for which `height` is as low as can be found in time."""
    middle = time.process_time() + (deadline - time.process_time()) / 2
    best, least = found.best, height(problem, found.best)
    for order in equals(problem, found, deadline=middle, tick=tick):
        if least <= found.peak_bytes:
            break
        now = height(problem, order)
        if now < least:
            best, least = order, now
    return polish(problem, best, height, deadline=deadline, tick=tick)


def _callees_first(program: Program) -> list[int]:
    """Subgraphs that run, each after all that it runs."""
    order: list[int] = []

    def visit(graph: int) -> None:
        for node in program.nodes[graph]:
            for callee in node.subgraphs:
                visit(callee)
        if graph not in order:
            order.append(graph)

    visit(0)
    return order


def _problem(
    program: Program, graph: int, arena: Arena, in_place: bool, inner: dict[int, _Graph]
) -> tuple[Problem, int]:
    """One subgraph as tasks and values, and by how much it may count too much.

    Where memory may be shared, all views of a tensor are one value.
    """
    subgraph = program.model.subgraphs[graph]
    pairs = like_pairs(program, graph) if in_place else []
    makers, readers = _uses(program, graph)
    root = {
        index: index
        for index, tensor in enumerate(arena.tensors[graph])
        if tensor.offset is not None and index in makers
    }
    for pair in pairs:
        if pair.is_view:
            root[pair.output] = root[pair.input]
    members: dict[int, list[int]] = {}
    for index, first in root.items():
        members.setdefault(first, []).append(index)
    values = tuple(
        Value(
            align(subgraph.tensors[first].nbytes, BUFFER_ALIGNMENT_BYTES),
            makers[first],
            frozenset(reader for index in views for reader in readers[index]),
            any(index in subgraph.outputs for index in views),
        )
        for first, views in members.items()
    )
    number = {first: position for position, first in enumerate(members)}
    value_of = {index: number[first] for index, first in root.items()}
    tasks = _tasks(program, graph, values, value_of, makers)
    over: list[set[tuple[int, int]]] = [set() for _ in tasks]
    for pair in pairs:
        output = value_of[pair.output]
        if not pair.is_view and (values[output].readers or values[output].stays):
            over[pair.operator].add((value_of[pair.input], output))
    slack = 0
    for index, node in enumerate(program.nodes[graph]):
        own = sum(align(size, BUFFER_ALIGNMENT_BYTES) for size in node.scratch_bytes)
        runs = [inner[callee] for callee in node.subgraphs]
        own += max((item.found.peak_bytes for item in runs), default=0)
        slack = max([slack, *(item.found.peak_bytes - item.lower_bound_bytes for item in runs)])
        tasks[index] = dataclasses.replace(tasks[index], own_bytes=own, over=frozenset(over[index]))
    return Problem(tuple(tasks), values), slack


def _uses(program: Program, graph: int) -> tuple[dict[int, int], dict[int, set[int]]]:
    """Who makes each tensor, and who uses it later on, later writers included."""
    makers = dict.fromkeys(program.model.subgraphs[graph].inputs, FROM_START)
    readers: dict[int, set[int]] = {
        index: set() for index in range(len(program.model.subgraphs[graph].tensors))
    }
    for index, node in enumerate(program.nodes[graph]):
        for tensor in node.operator.inputs:
            if tensor >= 0:
                readers[tensor].add(index)
        for tensor in node.operator.outputs:
            if makers.setdefault(tensor, index) != index:
                readers[tensor].add(index)
    return makers, readers


def _tasks(
    program: Program,
    graph: int,
    values: Sequence[Value],
    value_of: dict[int, int],
    makers: dict[int, int],
) -> list[Task]:
    """The operators of a subgraph with what they depend on."""
    forced = forced_order(program, graph)
    tasks = []
    for index, node in enumerate(program.nodes[graph]):
        sources = {tensor for tensor in node.operator.inputs if tensor >= 0}
        # A variable may be read before it is written; `forced` keeps that order.
        after = forced[index] | {
            makers[t] for t in sources if FROM_START < makers.get(t, FROM_START) < index
        }
        used = sources | {t for t in node.operator.outputs if makers[t] != index}
        made = {value_of[t] for t in node.operator.outputs if t in value_of}
        tasks.append(
            Task(
                frozenset(value_of[tensor] for tensor in used if tensor in value_of),
                tuple(sorted(value for value in made if values[value].maker == index)),
                frozenset(after),
            )
        )
    return tasks
