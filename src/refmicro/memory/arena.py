"""The arena of a prepared model, byte for byte as TFLM's allocator fills it.

`model_arena` replays what `MicroInterpreter` does from its constructor to the end of
`AllocateTensors`: structs, operator data and variables go to the tail, one after the other with
their alignments; the memory plan is the head; while operators prepare and while the plan is made,
temporary data lies between the two. The largest sum over time decides the smallest arena.

All figures are for an arena whose start and size are multiples of 16.

Source: `tensorflow/lite/micro/{micro_allocator,micro_interpreter,micro_interpreter_graph,
recording_micro_allocator,micro_resource_variable}.cc` and
`tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.cc`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from refmicro.errors import UnsupportedError
from refmicro.memory.abi import (
    BUFFER_ALIGNMENT_BYTES,
    INT_ARRAY_ALIGNMENT_BYTES,
    MAX_SCRATCH_REQUESTS,
    Layout,
    Struct,
    int_array_bytes,
    layout,
    params_struct,
)
from refmicro.memory.greedy_planner import Buffer, greedy_plan, plan_bytes
from refmicro.memory.lifetimes import Lifetimes, Step, lifetimes
from refmicro.memory.offline_plan import ONLINE, offline_plan
from refmicro.program import PreparedNode, Program, place
from refmicro.types import Tensor

CATEGORIES = (
    "eval_tensors",
    "persistent_tensors",
    "quantization",
    "persistent_buffers",
    "variables",
    "nodes",
    "op_data",
)
"""`RecordedAllocationType` without compression; TFLM itself never counts anything as op_data."""

_DATA_IN_TAIL = frozenset({"VAR_HANDLE"})
"""Operators that point their output at their own data while preparing, so it is not planned."""


class Category(NamedTuple):
    """One row of the recording allocator: bytes asked for, bytes with alignment, allocations."""

    requested_bytes: int
    used_bytes: int
    count: int


class TailAllocation(NamedTuple):
    """One allocation in the tail.

    `what` is the struct, or the kind of data; `category` is a name of `CATEGORIES` or empty.
    `subgraph` and `index` say for which operator or tensor, -1 where it is for all.
    `end_bytes` is the distance from the arena's end to the block's start.
    """

    what: str
    subgraph: int
    index: int
    requested_bytes: int
    used_bytes: int
    alignment_bytes: int
    end_bytes: int
    category: str


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


class Peak(NamedTuple):
    """The most that one phase needs: head, temporaries and tail at one time.

    `subgraph` and `operator` say where in `prepare`, None elsewhere.
    """

    phase: str
    bytes: int
    subgraph: int | None = None
    operator: int | None = None


@dataclass(frozen=True)
class Arena:
    """What a model does to the arena, in bytes.

    Attributes:
        used_bytes: what `arena_used_bytes()` says.
        required_bytes: the smallest arena, a multiple of 16, that suffices.
        head_bytes, tail_bytes: the plan, and what stays in the tail.
        lower_bound_bytes: the largest sum of buffers, each rounded up to 16, that live at one time;
            no plan that keeps live buffers apart has a smaller head.
        categories: the recording allocator's rows by the names in `CATEGORIES`, and `compression`
            where TFLM is built with it.
        tensors: by subgraph and tensor.
        scratch: by (subgraph, operator), in order of request; only operators that have some.
        trace: every allocation in the tail, in order.
        peaks: the most that each phase needs; `required_bytes` is the largest, rounded up to 16.
        lifetimes: the clock behind first and last times.
    """

    used_bytes: int
    required_bytes: int
    head_bytes: int
    tail_bytes: int
    lower_bound_bytes: int
    categories: Mapping[str, Category]
    tensors: tuple[tuple[PlannedTensor, ...], ...]
    scratch: Mapping[tuple[int, int], tuple[PlannedScratch, ...]]
    trace: tuple[TailAllocation, ...]
    peaks: tuple[Peak, ...]
    lifetimes: Lifetimes
    live_bytes: tuple[int, ...]

    @property
    def decisive(self) -> Peak:
        """The phase that decides `required_bytes`, the latest one of equals."""
        return max(reversed(self.peaks), key=lambda peak: peak.bytes)

    @cached_property
    def timeline(self) -> tuple[Step, ...]:
        """What happens at each step, as long as `live_bytes`."""
        return tuple(self.lifetimes.timeline())

    @property
    def live_peak(self) -> int:
        """The first step at which most bytes live."""
        return max(range(len(self.live_bytes)), key=self.live_bytes.__getitem__)

    def live_tensors(self, step: int) -> list[tuple[int, int]]:
        """(subgraph, tensor) of all planned tensors that live at a step, the largest first."""
        found = [
            (tensor.bytes, graph, index)
            for graph, tensors in enumerate(self.tensors)
            for index, tensor in enumerate(tensors)
            if tensor.offset is not None and _lives(tensor, step)
        ]
        found.sort(key=lambda item: -item[0])
        return [(graph, index) for _, graph, index in found]


def _lives(buffer: PlannedTensor | PlannedScratch, step: int) -> bool:
    return buffer.first_time_used <= step <= buffer.last_time_used


def _align(value: int, alignment_bytes: int) -> int:
    return -(-value // alignment_bytes) * alignment_bytes


def model_arena(program: Program) -> Arena:
    """The arena of a prepared model in the build it was prepared for.

    Raises:
        UnsupportedError: if TFLM refuses the model's offline plan, or if an operator with scratch
            buffers lies in a subgraph that nothing runs, for which TFLM plans with garbage.
        InvalidModelError: if the offline plan is damaged.
    """
    clock = lifetimes(program)
    plan = _plan(program, clock)
    tail = _Tail(program)
    tail.create()
    tail.start_model()
    tail.prepare()
    tail.finish(plan)
    tail.interface(plan.head_bytes)
    live = _live_bytes(plan, clock.steps)
    return Arena(
        used_bytes=plan.head_bytes + tail.used_bytes,
        required_bytes=_align(max(peak.bytes for peak in tail.peaks), BUFFER_ALIGNMENT_BYTES),
        head_bytes=plan.head_bytes,
        tail_bytes=tail.used_bytes,
        lower_bound_bytes=max(live),
        categories=tail.categories(),
        tensors=plan.tensors,
        scratch=plan.scratch,
        trace=tuple(tail.trace),
        peaks=tuple(tail.peaks),
        lifetimes=clock,
        live_bytes=live,
    )


@dataclass(frozen=True)
class _Plan:
    """The head: planned buffers in TFLM's order, and where they went."""

    buffers: list[Buffer]
    head_bytes: int
    tensors: tuple[tuple[PlannedTensor, ...], ...]
    scratch: dict[tuple[int, int], tuple[PlannedScratch, ...]]
    offline: tuple[tuple[int, ...], ...] | None


def _plan(program: Program, clock: Lifetimes) -> _Plan:
    offline = offline_plan(program.model)
    buffers: list[Buffer] = []
    planned: list[list[int | None]] = []
    for graph, subgraph in enumerate(program.model.subgraphs):
        in_tail = {
            tensor
            for node in program.nodes[graph]
            if node.name in _DATA_IN_TAIL
            for tensor in node.operator.outputs
        }
        first, last = clock.first_time_used[graph], clock.last_time_used[graph]
        slots: list[int | None] = []
        for index, tensor in enumerate(subgraph.tensors):
            offset = ONLINE if offline is None else offline[graph][index]
            if tensor.is_variable:
                needed = offset != ONLINE
            else:
                needed = tensor.data is None and index not in in_tail and tensor.nbytes != 0
            slots.append(len(buffers) if needed else None)
            if needed:
                size = _align(tensor.nbytes, BUFFER_ALIGNMENT_BYTES)
                buffers.append(Buffer(size, first[index], last[index], offset))
        planned.append(slots)
    requests = _scratch_requests(program, clock)
    scratch_start = len(buffers)
    buffers += [
        Buffer(_align(size, BUFFER_ALIGNMENT_BYTES), first, last)
        for _, size, first, last in requests
    ]
    offsets = greedy_plan(buffers)
    tensors = tuple(
        tuple(
            PlannedTensor(
                tensor.nbytes,
                None if slot is None else offsets[slot],
                clock.first_time_used[graph][index],
                clock.last_time_used[graph][index],
            )
            for index, (tensor, slot) in enumerate(
                zip(subgraph.tensors, planned[graph], strict=True)
            )
        )
        for graph, subgraph in enumerate(program.model.subgraphs)
    )
    scratch: dict[tuple[int, int], tuple[PlannedScratch, ...]] = {}
    for offset, (key, size, first, last) in zip(offsets[scratch_start:], requests, strict=True):
        scratch[key] = (*scratch.get(key, ()), PlannedScratch(size, offset, first, last))
    return _Plan(buffers, plan_bytes(buffers, offsets), tensors, scratch, offline)


def _scratch_requests(
    program: Program, clock: Lifetimes
) -> list[tuple[tuple[int, int], int, int, int]]:
    """(subgraph and operator, bytes, first step, last step) of each request, in order."""
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
                    hint="remove the subgraph; TFLM would plan its scratch buffers with garbage",
                )
            requests += [((graph, node.index), size, first, last) for size in node.scratch_bytes]
    return requests


def _live_bytes(plan: _Plan, steps: int) -> tuple[int, ...]:
    """Bytes of planned buffers, each rounded up to 16, that live at each step."""
    change = [0] * (steps + 1)
    for buffer in plan.buffers:
        if buffer.last_time_used >= 0:
            change[max(buffer.first_time_used, 0)] += buffer.size_bytes
            change[buffer.last_time_used + 1] -= buffer.size_bytes
    return tuple(itertools.accumulate(change[:-1]))


class _Tail:
    """The replay: grows the tail in TFLM's order and keeps the most that each phase needs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.layout: Layout = layout(program.build)
        self.used_bytes = 0
        self.trace: list[TailAllocation] = []
        self.peaks: list[Peak] = []
        self._requests = 0

    def _allocate(
        self,
        what: str,
        size_bytes: int,
        alignment_bytes: int,
        category: str = "",
        subgraph: int = -1,
        index: int = -1,
    ) -> None:
        end = -(-(self.used_bytes + size_bytes) // alignment_bytes) * alignment_bytes
        self.trace.append(
            TailAllocation(
                what,
                subgraph,
                index,
                size_bytes,
                end - self.used_bytes,
                alignment_bytes,
                end,
                category,
            )
        )
        self.used_bytes = end

    def _structs(
        self, what: str, struct: Struct, count: int = 1, category: str = "", subgraph: int = -1
    ) -> None:
        self._allocate(what, struct.size_bytes * count, struct.alignment_bytes, category, subgraph)

    def _buffer(self, what: str, size_bytes: int, subgraph: int = -1, index: int = -1) -> None:
        """`AllocatePersistentBuffer` of the context: 16-aligned, in its own category."""
        self._allocate(
            what, size_bytes, BUFFER_ALIGNMENT_BYTES, "persistent_buffers", subgraph, index
        )

    def _requests_head_bytes(self) -> int:
        """The list of scratch requests, which is the head until the plan is made."""
        count = self._requests + MAX_SCRATCH_REQUESTS
        return count * self.layout.scratch_buffer_request.size_bytes

    def create(self) -> None:
        """The interpreter's constructor, and before it `MicroResourceVariables::Create`."""
        recording = "Recording" if self.program.build.recording else ""
        sizes = self.layout
        self._structs(f"{recording}SingleArenaBufferAllocator", sizes.arena_allocator)
        self._structs("GreedyMemoryPlanner", sizes.planner)
        self._structs(f"{recording}MicroAllocator", sizes.allocator)
        capacity = self.program.max_resource_variables
        if capacity:
            self._buffer("MicroResourceVariables", sizes.resource_variables.size_bytes)
            self._buffer("MicroResourceVariable[]", capacity * sizes.resource_variable.size_bytes)
        self.peaks.append(Peak("create", self.used_bytes))

    def start_model(self) -> None:
        """`StartModelAllocation`, the parsing of options, and each operator's `Init`."""
        sizes, model = self.layout, self.program.model
        build = self.program.build
        self._structs("MicroBuiltinDataAllocator", sizes.builtin_data_allocator)
        self._structs("SubgraphAllocations[]", sizes.subgraph_allocations, len(model.subgraphs))
        for graph, subgraph in enumerate(model.subgraphs):
            count = len(subgraph.tensors)
            self._structs("TfLiteEvalTensor[]", sizes.eval_tensor, count, "eval_tensors", graph)
        for graph, subgraph in enumerate(model.subgraphs):
            count = len(subgraph.operators)
            struct = sizes.node_and_registration
            self._structs("NodeAndRegistration[]", struct, count, "nodes", graph)
        for node in itertools.chain.from_iterable(self.program.nodes):
            if node.spec.params is not None:
                size, alignment = params_struct(node.spec.params, build.abi)
                params = node.spec.params
                self._allocate(params, size, alignment, "", node.subgraph, node.index)
        for node in itertools.chain.from_iterable(self.program.nodes):
            for size in node.init_bytes:
                self._buffer("Init", size, node.subgraph, node.index)
        self.peaks.append(Peak("init", self._requests_head_bytes() + self.used_bytes))

    def prepare(self) -> None:
        """`PrepareSubgraphs`: temporary tensors stay until their operator is done."""
        peak = Peak("prepare", 0)
        for node in itertools.chain.from_iterable(self.program.nodes):
            need = self._prepare_node(node)
            self._requests += len(node.scratch_bytes)
            need = max(need, self._requests_head_bytes() + self.used_bytes)
            if need > peak.bytes:
                peak = Peak("prepare", need, node.subgraph, node.index)
        self.peaks.append(peak)

    def _prepare_node(self, node: PreparedNode) -> int:
        """What one operator's `Prepare` needs, its requests in the order in which it makes them.

        A temporary tensor must fit below the tail. A block in the tail must only stay above the
        head: TFLM lets it grow over temporaries. That breaks them, unless it reaches no further
        than into the last one's zero points, which nobody reads again.
        """
        top = self._requests_head_bytes()
        need = top + self.used_bytes
        taken = spare = 0
        requests = zip(node.persistent_bytes, node.persistent_after, strict=True)
        for size, after in (*requests, (None, len(node.temp_tensors))):
            for tensor in node.temp_tensors[taken:after]:
                top, spare = self._temporary(top, tensor)
                need = max(need, top + self.used_bytes)
            taken = after
            if size is not None:
                self._buffer("Prepare", size, node.subgraph, node.index)
                need = max(need, top + self.used_bytes - spare)
        return need

    def _temporary(self, top: int, tensor: Tensor) -> tuple[int, int]:
        """The end of a temporary tensor above `top`, and how much of its end is never read."""
        size, alignment = self.layout.tensor
        top = _align(top, alignment) + size
        if not tensor.quantization.is_affine:
            return top, 0
        size, alignment = self.layout.affine_quantization
        zero_points = int_array_bytes(len(tensor.quantization.scale))
        top = _align(_align(top, alignment) + size, INT_ARRAY_ALIGNMENT_BYTES) + zero_points
        # `quantized_dimension` stands behind the two pointers of the struct
        return top, size - 2 * self.layout.pointer.size_bytes + zero_points

    def finish(self, plan: _Plan) -> None:
        """`FinishModelAllocation`: handles, variables, and the planner's own memory."""
        sizes, model = self.layout, self.program.model
        if self._requests:
            self._structs("ScratchBufferHandle[]", sizes.scratch_buffer_handle, self._requests)
        tensors = sum(len(graph.tensors) for graph in model.subgraphs)
        size, alignment = sizes.size_t
        top = _align(self._requests_head_bytes(), alignment) + size * len(model.subgraphs)
        size, alignment = sizes.allocation_info
        top = _align(top, alignment) + size * (tensors + self._requests)
        peak = top + self.used_bytes
        self._variables(plan)
        peak = max(peak, self._requests_head_bytes() + self.used_bytes)
        if plan.buffers:
            buffers = sizes.planner_buffer.size_bytes * len(plan.buffers)
            aligned_tail = _align(self.used_bytes, BUFFER_ALIGNMENT_BYTES)
            peak = max(peak, _align(top, BUFFER_ALIGNMENT_BYTES) + buffers + aligned_tail)
        self.peaks.append(Peak("plan", peak))

    def _variables(self, plan: _Plan) -> None:
        for graph, subgraph in enumerate(self.program.model.subgraphs):
            for index, tensor in enumerate(subgraph.tensors):
                if not tensor.is_variable:
                    continue
                if plan.offline is None or plan.offline[graph][index] == ONLINE:
                    size, alignment = tensor.nbytes, BUFFER_ALIGNMENT_BYTES
                    self._allocate("variable", size, alignment, "variables", graph, index)

    def interface(self, head_bytes: int) -> None:
        """The `TfLiteTensor` of every input and output, after the plan."""
        graph = self.program.model.subgraphs[0]
        for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
            self._buffer(f"{what} TfLiteTensor*[]", self.layout.pointer.size_bytes * len(indices))
            for index in indices:
                self._interface_tensor(index, graph.tensors[index])
        self.peaks.append(Peak("final", head_bytes + self.used_bytes))

    def _interface_tensor(self, index: int, tensor: Tensor) -> None:
        size, alignment = self.layout.tensor
        self._allocate("TfLiteTensor", size, alignment, "persistent_tensors", 0, index)
        if tensor.quantization.is_affine:
            size, alignment = self.layout.affine_quantization
            what = "TfLiteAffineQuantization"
            self._allocate(what, size, alignment, "quantization", 0, index)
            size = int_array_bytes(len(tensor.quantization.scale))
            alignment = INT_ARRAY_ALIGNMENT_BYTES
            self._allocate("zero_point", size, alignment, "quantization", 0, index)

    def categories(self) -> dict[str, Category]:
        """The recording allocator's rows; arrays of structs count one for each element."""
        names = CATEGORIES + (("compression",) if self.program.build.compression else ())
        totals = {name: [0, 0, 0] for name in names}
        counts = {
            "TfLiteEvalTensor[]": self.layout.eval_tensor.size_bytes,
            "NodeAndRegistration[]": self.layout.node_and_registration.size_bytes,
        }
        for event in self.trace:
            if event.category:
                total = totals[event.category]
                total[0] += event.requested_bytes
                total[1] += event.used_bytes
                each = counts.get(event.what)
                total[2] += 1 if each is None else event.requested_bytes // each
        return {name: Category(*total) for name, total in totals.items()}
