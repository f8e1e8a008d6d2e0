"""The best memory plan for an order of operators, written so that stock TFLM obeys it.

TFLM's planner places the largest buffer first and never looks back, and it keeps the input and
output of an operator apart even where the kernel could write in place. `plan_offsets` packs the
buffers again, with elementwise operators and reshapes in place where that is legal, and writes the
offsets as `OfflineMemoryAllocation` metadata, which TFLM follows to the byte. The metadata costs
flash, no RAM.

Scratch buffers cannot be planned offline: TFLM fits them in afterwards, so they are packed along
and the plan is judged by what TFLM's planner makes of it. Variable tensors may move from the tail
to the head; that costs no more there and makes room while TFLM plans, which decides the smallest
arena of models with many tensors. A plan is taken only where it makes the arena smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.memory.arena import Arena, model_arena
from refmicro.memory.offline_plan import ONLINE, with_offline_plan
from refmicro.model.graph import Model
from refmicro.program import Program, prepare_model
from refmicro.transform._packing import Item, Packing, live_bound, pack
from refmicro.transform.in_place import InPlacePair, in_place_pairs, memory_faults
from refmicro.types import TflmBuild

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""

Place = tuple[int, int]
"""Subgraph and tensor."""


@dataclass(frozen=True)
class Planned:
    """The model with its plan.

    Attributes:
        model: the result; the model as it came where no plan makes its arena smaller.
        changed: whether the result has another plan than the source.
        head_bytes: size of the plan, scratch buffers included.
        lower_bound_bytes: no plan that keeps apart what must be apart is smaller.
        shared: tensors that lie over another one that their operator reads.
        variables_planned: whether variable tensors are in the plan.
    """

    model: Model
    changed: bool
    head_bytes: int
    lower_bound_bytes: int
    shared: int
    variables_planned: bool

    @property
    def optimal(self) -> bool:
        """Whether no plan is smaller."""
        return self.head_bytes == self.lower_bound_bytes


def plan_offsets(
    model: Model,
    *,
    build: TflmBuild | None = None,
    time_limit_s: float = 10.0,
    in_place: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> Planned:
    """The plan with the smallest arena that the time allows to find.

    Args:
        model: any model; a plan that it has is kept only where none is better.
        build: the TFLM whose arena counts; a Cortex-M firmware by default.
        time_limit_s: for packing; the result says whether it is proven.
        in_place: whether outputs may lie over inputs.
        progress: called now and then.

    Raises:
        UnsupportedError, InvalidModelError: if the model is refused.
    """
    build = build or TflmBuild.firmware()

    def measure(candidate: Model) -> Arena:
        return model_arena(prepare_model(candidate, build))

    plain = with_offline_plan(model, None)
    program = prepare_model(plain, build)
    greedy = model_arena(program)
    choices = [_Choice(model, measure(model), None, 0, False)]
    if plain != model:
        choices.append(_Choice(plain, greedy, None, 0, False))
    layouts = [_layout(program, greedy, in_place, with_variables=False)]
    if layouts[0].has_variables:
        layouts.append(_layout(program, greedy, in_place, with_variables=True))
    for number, layout in enumerate(layouts):

        def tick(done: int, total: int, number: int = number) -> None:
            progress("packing buffers", number * total + done, len(layouts) * total)

        packing = pack(layout.items, time_limit_s=time_limit_s / len(layouts), tick=tick)
        candidate = with_offline_plan(plain, layout.offsets(plain, packing))
        if not memory_faults(candidate):
            shared, variables = layout.shared, layout.variables
            arena = measure(candidate)
            choices.append(_Choice(candidate, arena, packing, shared, variables))
    best = min(choices, key=lambda item: (item.arena.required_bytes, item.arena.used_bytes))
    bound = live_bound(layouts[0].items)
    if best.packing is not None:
        bound = best.packing.lower_bound_bytes
    return Planned(
        best.model,
        best.model is not model,
        best.arena.head_bytes,
        min(bound, best.arena.head_bytes),
        best.shared,
        best.variables,
    )


@dataclass(frozen=True)
class _Choice:
    """One plan that may be the best; `packing` is None for the source's and for TFLM's own."""

    model: Model
    arena: Arena
    packing: Packing | None
    shared: int
    variables: bool


@dataclass(frozen=True)
class _Layout:
    """Buffers to pack.

    Attributes:
        items: buffers; tensors that share memory are one.
        item_of: the buffer of every tensor that gets an offset.
        shared: tensors that lie over another one.
        variables: whether variable tensors are among them.
        has_variables: whether the model has any that could be.
    """

    items: list[Item]
    item_of: dict[Place, int]
    shared: int
    variables: bool
    has_variables: bool

    def offsets(self, model: Model, packing: Packing) -> list[list[int]]:
        """One offset or -1 for each tensor of each subgraph."""
        found = [[ONLINE] * len(graph.tensors) for graph in model.subgraphs]
        for (graph, tensor), item in self.item_of.items():
            found[graph][tensor] = packing.offsets[item]
        return found


def _layout(program: Program, arena: Arena, in_place: bool, *, with_variables: bool) -> _Layout:
    """Tensors, in place where wanted, scratch buffers, and variables where wanted."""
    online = _tensors_to_leave(program.model)
    groups: dict[Place, list[int]] = {}
    for graph, tensors in enumerate(arena.tensors):
        for index, tensor in enumerate(tensors):
            if tensor.offset is not None:
                size = align(tensor.bytes, BUFFER_ALIGNMENT_BYTES)
                groups[graph, index] = [size, tensor.first_time_used, tensor.last_time_used]
    home = {place: place for place in groups}
    if in_place:
        keep = {(g, i) for g, graph in enumerate(program.model.subgraphs) for i in graph.outputs}
        _share(in_place_pairs(program, arena.lifetimes), groups, home, online, keep)
    shared = len(home) - len(groups)
    variables = {
        (0, index): tensor
        for index, tensor in enumerate(program.model.subgraphs[0].tensors)
        if tensor.is_variable and tensor.nbytes and (0, index) not in online
    }
    if with_variables:
        for place, tensor in variables.items():
            size = align(tensor.nbytes, BUFFER_ALIGNMENT_BYTES)
            groups[place] = [size, 0, arena.lifetimes.steps - 1]
            home[place] = place
    number = {place: position for position, place in enumerate(groups)}
    items = [Item(*group) for group in groups.values()]
    items += [
        Item(align(buffer.bytes, BUFFER_ALIGNMENT_BYTES), *buffer[2:])
        for buffers in arena.scratch.values()
        for buffer in buffers
    ]
    item_of = {place: number[root] for place, root in home.items() if place not in online}
    return _Layout(items, item_of, shared, with_variables, bool(variables))


def _share(
    pairs: list[InPlacePair],
    groups: dict[Place, list[int]],
    home: dict[Place, Place],
    online: set[Place],
    keep: set[Place],
) -> None:
    """Put outputs into the buffers of inputs, the one that was there first where two would do.

    The whole buffer must be free for the output: all tensors in it are dead, unless the output is a
    view of them, and none is an output of its graph, which are `keep`.
    """
    kept = set(keep)
    by_output: dict[Place, list[InPlacePair]] = {}
    for pair in pairs:
        by_output.setdefault((pair.subgraph, pair.output), []).append(pair)
    for output, found in by_output.items():
        graph = output[0]
        choices = []
        for pair in found:
            root = home[graph, pair.input]
            free = pair.is_view or (groups[root][2] == groups[output][1] and root not in kept)
            if free and not {root, output, (graph, pair.input)} & online:
                choices.append((groups[root][1], root))
        if choices:
            _, root = min(choices)
            _, first, last = groups.pop(output)
            groups[root][1] = min(groups[root][1], first)
            groups[root][2] = max(groups[root][2], last)
            home[output] = root
            if output in kept:
                kept.add(root)


def _tensors_to_leave(model: Model) -> set[Place]:
    """Tensors that must stay with TFLM's planner because of variables in later subgraphs.

    TFLM looks up whether a variable is planned by its index in its own subgraph, but in the list of
    all subgraphs (`MicroAllocator::AllocateVariables`): an offset for the tensor of that index in
    subgraph 0, or further on in the list, would leave the variable without memory.
    """
    flat = [(g, i) for g, graph in enumerate(model.subgraphs) for i in range(len(graph.tensors))]
    return {
        flat[index]
        for graph in model.subgraphs[1:]
        for index, tensor in enumerate(graph.tensors)
        if tensor.is_variable
    }
