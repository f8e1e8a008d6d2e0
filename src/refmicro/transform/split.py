"""A model cut into models that run one after another in one arena.

TFLM keeps structs for every operator and tensor of a model, all the time. Parts that are allocated
anew for each run share one arena, so that only the largest counts. What one part makes and a later
one reads is carried outside of the arenas, in the same buffer; `_carried` says where. The order of
operators stays: `reorder` comes first where it helps.

The fewest parts are taken that keep within the limit, and of such cuts the one whose largest part,
with what is carried meanwhile, is smallest. Parts lose the names of their tensors, so that equal
parts become one model that is called several times; where operators repeat and cuts that follow the
repetition make all models together smaller, those are taken.

Nothing in an arena outlasts the next part, so that state in variables is taken out of the model
and lies in the buffer as well.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.errors import OverBudgetError, UnsupportedError
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model, Operator, Subgraph
from refmicro.model.writer import write_model
from refmicro.program import Program, prepare_model
from refmicro.transform._carried import Carried, Layout, lay_out
from refmicro.transform._cuts import (
    FROM_START,
    Costs,
    Flow,
    Path,
    Segment,
    Settled,
    fewest,
    lowest,
    lowest_of,
    settle,
)
from refmicro.transform._draft import Draft
from refmicro.transform._kept import Kept, without_state, written_over
from refmicro.transform._repeats import around, repeated_cuts
from refmicro.transform.proof import Open, Progress
from refmicro.types import TflmBuild

MAX_CUTS = 1000
"""Of longer models only so many cuts are looked at, and nothing is proven of the others."""


@dataclass(frozen=True)
class Call:
    """One run of a part; tensors are those of the source's main subgraph.

    Attributes:
        model: which of the models.
        operators: [start, end) in the source.
        inputs, outputs: the tensor behind each input and output of the part, in order.
    """

    model: int
    operators: Segment
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """A model in parts.

    Attributes:
        source: the main subgraph that was cut, with state as its last inputs and outputs.
        kept: that state.
        models: the different parts.
        calls: in order.
        max_bytes: the limit.
        build: the TFLM whose arena counts.
        optimal: whether the parts are proven to be the fewest and their largest the smallest.
        repeated: whether the cuts follow a repetition, for fewer bytes of models and more calls.
    """

    source: Subgraph
    models: tuple[Model, ...]
    calls: tuple[Call, ...]
    max_bytes: int
    build: TflmBuild
    optimal: bool
    kept: tuple[Kept, ...] = ()
    repeated: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        """What comes in with each run."""
        return self.source.inputs[: len(self.source.inputs) - len(self.kept)]

    @property
    def outputs(self) -> tuple[int, ...]:
        """What each run gives."""
        return self.source.outputs[: len(self.source.outputs) - len(self.kept)]

    @property
    def over(self) -> dict[int, int]:
        """New states that lie over the old ones, by their tensors."""
        makers, readers = _uses(self.calls)
        over = written_over(self.kept, makers, readers)
        return {item.new: item.old for item in self.kept if item.new in over}

    @functools.cached_property
    def models_bytes(self) -> int:
        """All models together."""
        return sum(len(write_model(model)) for model in self.models)

    @functools.cached_property
    def layout(self) -> Layout:
        """Where carried values and arenas lie."""
        return self.layout_of(self.models)

    def layout_of(self, models: Sequence[Model]) -> Layout:
        """The same with other models, where the parts have been planned since."""
        required = [_required_bytes(model, self.build) for model in models]
        values = carried_values(self.source, self.calls, self.kept)
        return lay_out(values, [required[c.model] for c in self.calls])


def split(
    model: Model,
    max_bytes: int,
    *,
    build: TflmBuild | None = None,
    repeats: bool = True,
    planned: Callable[[Model], Model] | None = None,
    time_limit_s: float = 10.0,
    progress: Progress = lambda what, done, total: None,
) -> Split:
    """Cut a model so that the largest part and what is carried meanwhile keep within a limit.

    Args:
        model: any model whose state, if it has any, is in variables.
        max_bytes: for arena and carried values together.
        build: the TFLM whose arena counts; a Cortex-M firmware by default.
        repeats: whether cuts may follow a repetition of operators.
        planned: what will be done to each part to make it smaller; where nothing keeps within the
            limit as it is, the smallest parts may do so then.
        time_limit_s: for each search; the result says whether it is proven.
        progress: called now and then.

    Raises:
        OverBudgetError: if no cuts keep within the limit; it says what can be reached.
        UnsupportedError: if operators remember, the model gives constants, or is refused.
    """
    build = build or TflmBuild.firmware()
    model, kept = without_state(model, build)
    program = prepare_model(model, build)
    _check(program)
    cutter = _Cutter(program, kept, time_limit_s, progress)
    limit = max_bytes
    while (found := cutter.fewest(limit)) is not None:
        result = cutter.assembled(found, max_bytes)
        total = result.layout.total_bytes
        if total <= max_bytes:
            proven = limit == max_bytes and total == result.layout.lower_bound_bytes and not kept
            result = result if proven else dataclasses.replace(result, optimal=False)
            several = repeats and len(result.calls) > 1
            return _with_repeats(cutter, result) if several else result
        # The layout had to leave gaps: leave room for them.
        limit -= total - max_bytes
    result, proven = _smallest(cutter, max_bytes)
    if result.layout.total_bytes <= max_bytes:
        return _with_repeats(cutter, result) if repeats else result
    total = result.layout.total_bytes
    if planned is not None:
        total = result.layout_of([planned(part) for part in result.models]).total_bytes
        if total <= max_bytes:
            return result
    raise _over_budget(max_bytes, total, proven and planned is None)


def _smallest(cutter: _Cutter, max_bytes: int) -> tuple[Split, bool]:
    """The smallest buffer that was found, and whether no cuts have a smaller one.

    Where the lowest cuts leave gaps in the layout, fewer parts may leave smaller ones.
    """
    lowest = cutter.smallest()
    best = dataclasses.replace(cutter.assembled(lowest, max_bytes), optimal=False)
    bound = cutter.cost(lowest.path)
    gap = best.layout.total_bytes - bound
    for share in (3, 2, 1) if gap else ():
        found = cutter.fewest(bound + gap * share // 4)
        if found is not None:
            other = dataclasses.replace(cutter.assembled(found, max_bytes), optimal=False)
            best = min(best, other, key=lambda item: item.layout.total_bytes)
    return best, lowest.optimal and not gap


def _with_repeats(cutter: _Cutter, result: Split) -> Split:
    """Cuts along a repetition within the same limit, where their models take fewer bytes."""
    best = result
    for path in cutter.repeated(result.max_bytes):
        other = cutter.assembled(Settled(path, False), result.max_bytes)
        fits = other.layout.total_bytes <= result.max_bytes
        if fits and other.models_bytes < best.models_bytes:
            best = dataclasses.replace(other, repeated=True)
    return best


def _over_budget(max_bytes: int, reached_bytes: int, proven: bool) -> OverBudgetError:
    word = "can reach" if proven else "were found to reach"
    return OverBudgetError(
        f"parts and what they carry must keep within {max_bytes:,} bytes: the smallest that cuts "
        f"of this order of operators {word} is {reached_bytes:,} bytes",
        hint=f"allow that with --split {reached_bytes}, or find a better order with --reorder",
    )


def _check(program: Program) -> None:
    """What cannot be cut, in words."""
    graph = program.model.subgraphs[0]
    written = {tensor for op in graph.operators for tensor in op.outputs}
    if written & set(graph.inputs):
        raise UnsupportedError("a model that is split must not write to its own inputs")
    if not graph.operators or not written & set(graph.outputs):
        raise UnsupportedError("a model that is split must compute something")
    for tensor in graph.outputs:
        if tensor not in written and tensor not in graph.inputs:
            raise UnsupportedError(
                f"a model that is split must compute its outputs: tensor {tensor} is a constant"
            )


class _Cutter:
    """Searches for cuts of one program; arenas that were measured are kept."""

    def __init__(
        self, program: Program, kept: tuple[Kept, ...], time_limit_s: float, progress: Progress
    ) -> None:
        self._program = program
        self._kept = kept
        flow = Flow.of(program.model.subgraphs[0], [(item.old, item.new) for item in kept])
        self._count = len(flow.graph.operators)
        self._all_cuts = self._count <= MAX_CUTS
        self._flow = flow if self._all_cuts else flow.thinned(MAX_CUTS)
        self._time_limit_s = time_limit_s
        self._progress = progress
        self._required: dict[Segment, int] = {}

    def _measure(self, segment: Segment) -> int:
        """The arena of a segment."""
        if segment not in self._required:
            part = part_model(self._program, self._flow, segment)
            self._required[segment] = _required_bytes(part, self._program.build)
            self._progress("measuring parts", len(self._required), len(self._required))
        return self._required[segment]

    def assembled(self, found: Settled, max_bytes: int) -> Split:
        """The parts of a path; equal ones are one model."""
        flow = Flow.of(self._program.model.subgraphs[0])
        numbers: dict[bytes, int] = {}
        models, calls = [], []
        for segment in found.path:
            model = part_model(self._program, flow, segment)
            number = numbers.setdefault(write_model(model), len(models))
            if number == len(models):
                models.append(model)
            calls.append(Call(number, segment, *interface(flow, segment)))
        return Split(
            flow.graph,
            tuple(models),
            tuple(calls),
            max_bytes,
            self._program.build,
            found.optimal,
            self._kept,
        )

    def cost(self, path: Path) -> int:
        """The largest of a path's arenas with what is carried meanwhile, gaps not counted."""
        carried = self._flow.carried_bytes
        return max(self._measure(part) + max(carried[cut] for cut in part) for part in path)

    def _costs(self, limit_bytes: int) -> Costs:
        def tick(done: int, total: int) -> None:
            self._progress("bounding parts", done, total)

        return Costs(self._program, self._flow, limit_bytes, self._measure, tick)

    def _settle(
        self,
        costs: Costs,
        find: Callable[[Costs], Path | None],
        key: Callable[[Path], float],
        deadline: float | None = None,
    ) -> Settled | None:
        if deadline is None:
            deadline = time.process_time() + self._time_limit_s
        found = settle(costs, find, key, deadline)
        if found is None or self._all_cuts:
            return found
        return Settled(found.path, False)

    def fewest(self, limit_bytes: int) -> Settled | None:
        """The fewest parts within the limit, and of these cuts the lowest."""
        whole = (0, self._count)
        if self.cost([whole]) <= limit_bytes:
            return Settled([whole], True)
        costs = self._costs(limit_bytes)

        def parts(path: Path) -> float:
            return len(path) if costs.worst(path) <= limit_bytes else float("inf")

        few = self._settle(costs, lambda costs: fewest(costs, limit_bytes), parts)
        if few is None:
            return None
        count = len(few.path)
        low = self._settle(costs, lambda costs: lowest_of(costs, count), costs.worst)
        if low is None or costs.worst(low.path) > costs.worst(few.path):
            return Settled(few.path, False)
        return Settled(low.path, few.optimal and low.optimal)

    def repeated(self, limit_bytes: int) -> Iterator[Path]:
        """Paths within the limit that follow a repetition of operators."""
        lists = list(repeated_cuts(self._flow))
        costs = self._costs(limit_bytes) if lists else None
        deadline = time.process_time() + self._time_limit_s
        for cuts in lists:

            def find(costs: Costs, cuts: list[int] = cuts) -> Path | None:
                return around(costs, cuts, limit_bytes)

            def parts(path: Path) -> float:
                return len(path) if costs.worst(path) <= limit_bytes else float("inf")

            found = self._settle(costs, find, parts, deadline)
            if found is not None:
                yield found.path
            if time.process_time() > deadline:
                return

    def smallest(self) -> Settled:
        """The cuts whose largest part is smallest, however many."""
        cuts = [cut for cut, allowed in enumerate(self._flow.allowed) if allowed]
        known = [list(itertools.pairwise(cuts)), [(0, self._count)]]
        for path in known:
            costs = self._costs(self.cost(path))
            found = self._settle(costs, lowest, costs.worst)
            if found is not None:
                return found
        # The whole model is a path, and its bound is not above its cost.
        return Settled([(0, self._count)], True)


# Parts


def part_model(program: Program, flow: Flow, segment: Segment) -> Model:
    """A segment as a model: nameless tensors in the order of use, with the subgraphs it runs."""
    model, (start, end) = program.model, segment
    inputs, outputs = interface(flow, segment)
    draft = Draft(
        list(flow.graph.tensors), list(flow.graph.operators[start:end]), inputs, outputs, ""
    )
    reached: dict[int, int] = {0: 0}
    waiting = list(program.nodes[0][start:end])
    while waiting:
        for callee in waiting.pop(0).subgraphs:
            if callee not in reached:
                reached[callee] = len(reached)
                waiting += program.nodes[callee]
    graphs = [draft.subgraph(list)[0], *(model.subgraphs[graph] for graph in list(reached)[1:])]
    return Model(tuple(_plain(graph, reached) for graph in graphs), version=model.version)


def _plain(graph: Subgraph, numbers: dict[int, int]) -> Subgraph:
    """A subgraph without names, whose operators run subgraphs by their new numbers."""

    def options(op: Operator) -> dict[str, Any]:
        return {
            key: numbers[value] if key.endswith("_subgraph_index") else value
            for key, value in op.options.items()
        }

    return dataclasses.replace(
        graph,
        tensors=tuple(dataclasses.replace(tensor, name="") for tensor in graph.tensors),
        operators=tuple(dataclasses.replace(op, options=options(op)) for op in graph.operators),
        name="",
    )


def interface(flow: Flow, segment: Segment) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The values that a segment reads from outside and those that are needed after it."""
    start, end = segment
    inputs: dict[int, None] = {}
    outputs: dict[int, None] = {}
    for op in flow.graph.operators[start:end]:
        for tensor in op.inputs:
            if tensor in flow.makers and flow.makers[tensor] < start:
                inputs[tensor] = None
        for tensor in op.outputs:
            if flow.outlives(tensor, end):
                outputs[tensor] = None
    return tuple(inputs), tuple(outputs)


def _required_bytes(model: Model, build: TflmBuild) -> int:
    return model_arena(prepare_model(model, build)).required_bytes


def _uses(calls: Sequence[Call]) -> tuple[dict[int, int], dict[int, int]]:
    """By tensor, the call that makes it and the last one that reads it."""
    makers = {tensor: k for k, call in enumerate(calls) for tensor in call.outputs}
    readers: dict[int, int] = {}
    for k, call in enumerate(calls):
        readers |= dict.fromkeys(call.inputs, k)
    return makers, readers


def carried_values(
    source: Subgraph, calls: Sequence[Call], kept: Sequence[Kept] = ()
) -> list[Carried]:
    """What outlives a part, without places.

    Inputs for the first part alone are written into its arena, and outputs of the last part are
    read from its arena: these are not carried. State is there at any time; a new value that takes
    its place has none of its own.
    """
    made, readers = _uses(calls)
    makers = dict.fromkeys(source.inputs, FROM_START) | made
    over = written_over(kept, made, readers)
    olds, news = ({getattr(item, side) for item in kept} for side in ("old", "new"))
    end = 2 * len(calls) - 1
    values = []
    for tensor, maker in makers.items():
        if tensor in over:
            continue
        stays = tensor in news or (tensor in source.outputs and maker < len(calls) - 1)
        reader = readers.get(tensor, FROM_START)
        if tensor in olds:
            values.append(Carried(tensor, source.tensors[tensor].nbytes, 0, end))
        elif stays or reader > max(maker, 0):
            first = 0 if maker == FROM_START else 2 * maker + 1
            last = end if stays else 2 * reader
            values.append(Carried(tensor, source.tensors[tensor].nbytes, first, last))
    return values


# Running


class SplitMachine:
    """The parts, one after another, as one model that keeps its state; each part starts from reset
    state as in one arena."""

    def __init__(self, result: Split, models: Sequence[Model], open_model: Open) -> None:
        self._split = result
        self._machines = [open_model(model) for model in models]
        self.reset()

    def reset(self) -> None:
        """See `proof.Machine`."""
        tensors = self._split.source.tensors
        self._state = {
            item.old: np.frombuffer(item.initial, tensors[item.old].dtype.numpy).reshape(
                tensors[item.old].shape
            )
            for item in self._split.kept
        }

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `proof.Machine`."""
        values = dict(zip(self._split.inputs, inputs, strict=True)) | self._state
        for call in self._split.calls:
            machine = self._machines[call.model]
            machine.reset()
            made = machine.invoke([values[tensor] for tensor in call.inputs])
            values |= dict(zip(call.outputs, made, strict=True))
        self._state = {item.old: values[item.new] for item in self._split.kept}
        return [values[tensor] for tensor in self._split.outputs]
