"""The tail of the arena: the replay of every allocation that stays, and the peaks on the way.

Structs, operator data and variables go to the tail, one after the other with their alignments.
Meanwhile the low end holds the list of scratch requests, the temporary tensors of the operator that
prepares, then the planner's own memory, and at last the head. The largest sum of both ends over
time decides the smallest arena.

Source: `tensorflow/lite/micro/{micro_allocator,micro_interpreter,micro_interpreter_graph,
recording_micro_allocator,micro_resource_variable}.cc` and
`tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.cc`.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from refmicro.memory.abi import (
    BUFFER_ALIGNMENT_BYTES,
    INT_ARRAY_ALIGNMENT_BYTES,
    MAX_SCRATCH_REQUESTS,
    Layout,
    Struct,
    align,
    int_array_bytes,
    layout,
    params_struct,
)
from refmicro.memory.head import HeadPlan
from refmicro.memory.offline_plan import ONLINE
from refmicro.program import PreparedNode, Program
from refmicro.types import Abi, Tensor

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


_FREED_FIRST = frozenset({"ADD_N"})
"""Operators that free their last temporaries before they ask for persistent memory."""

_READ_AFTERWARDS = frozenset({"TFLM_DECODE"})
"""Operators that read all of their last temporary after they ask for persistent memory."""


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


class Peak(NamedTuple):
    """The most that one phase needs: head, temporaries and tail at one time.

    `subgraph` and `operator` say where in `prepare`, None elsewhere.
    """

    phase: str
    bytes: int
    subgraph: int | None = None
    operator: int | None = None


class Tail:
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

        A temporary tensor must fit below the tail, and TFLM refuses where it does not. A block in
        the tail must only stay above the head: TFLM lets it grow over temporaries.
        """
        top = self._requests_head_bytes()
        need = top + self.used_bytes
        taken = 0
        blocks: list[tuple[int, int]] = []
        requests = zip(node.persistent_bytes, node.persistent_after, strict=True)
        for size, after in (*requests, (None, len(node.temp_tensors))):
            for tensor in node.temp_tensors[taken:after]:
                top = self._temporary_end(top, tensor)
                need = max(need, top + self.used_bytes)
                blocks.clear()
            taken = after
            if size is not None:
                self._buffer("Prepare", size, node.subgraph, node.index)
                blocks.append((self.used_bytes, size))
        if blocks and node.temp_tensors and node.name not in _FREED_FIRST:
            arena = align(top + self.used_bytes, BUFFER_ALIGNMENT_BYTES)
            if node.name not in _READ_AFTERWARDS:
                arena = self._overlap_need(top, node.temp_tensors[-1], blocks, need)
            need = max(need, arena)
        return need

    def _temporary_end(self, top: int, tensor: Tensor) -> int:
        """Where a temporary tensor ends that is taken above `top`."""
        size, alignment = self.layout.tensor
        top = align(top, alignment) + size
        if not tensor.quantization.is_affine:
            return top
        size, alignment = self.layout.affine_quantization
        top = align(align(top, alignment) + size, INT_ARRAY_ALIGNMENT_BYTES)
        return top + int_array_bytes(len(tensor.quantization.scale))

    def _overlap_need(
        self, top: int, tensor: Tensor, blocks: list[tuple[int, int]], least: int
    ) -> int:
        """The smallest arena in which blocks of the tail spoil no temporary that is read again.

        Of the last temporary, `tensor`, nobody reads the zero points again, nor
        `quantized_dimension` and the pointer to the scales; the pointer to the zero points is read
        when it is freed. `blocks` are (distance of the start from the arena's end, size).
        """
        arena = align(top + self.used_bytes, BUFFER_ALIGNMENT_BYTES)
        if not tensor.quantization.is_affine:
            return arena
        zero_points = int_array_bytes(len(tensor.quantization.scale))
        struct_start = top - zero_points - self.layout.affine_quantization.size_bytes
        word = self.layout.pointer.size_bytes
        read_again = ((0, struct_start), (struct_start + word, struct_start + 2 * word))

        def spoils(smaller: int) -> bool:
            return any(
                smaller - start < high and smaller - start + size > low
                for start, size in blocks
                for low, high in read_again
            )

        while arena - BUFFER_ALIGNMENT_BYTES >= least and not spoils(
            arena - BUFFER_ALIGNMENT_BYTES
        ):
            arena -= BUFFER_ALIGNMENT_BYTES
        return arena

    def finish(self, plan: HeadPlan) -> None:
        """`FinishModelAllocation`: handles, variables, and the planner's own memory."""
        sizes, model = self.layout, self.program.model
        if self._requests:
            self._structs("ScratchBufferHandle[]", sizes.scratch_buffer_handle, self._requests)
        tensors = sum(len(graph.tensors) for graph in model.subgraphs)
        size, alignment = sizes.size_t
        top = align(self._requests_head_bytes(), alignment) + size * len(model.subgraphs)
        size, alignment = sizes.allocation_info
        top = align(top, alignment) + size * (tensors + self._requests)
        peak = top + self.used_bytes
        self._variables(plan)
        peak = max(peak, self._requests_head_bytes() + self.used_bytes)
        if plan.buffers:
            buffers = sizes.planner_buffer.size_bytes * plan.buffers
            aligned_tail = align(self.used_bytes, BUFFER_ALIGNMENT_BYTES)
            peak = max(peak, align(top, BUFFER_ALIGNMENT_BYTES) + buffers + aligned_tail)
        self.peaks.append(Peak("plan", peak))

    def _variables(self, plan: HeadPlan) -> None:
        for graph, subgraph in enumerate(self.program.model.subgraphs):
            for index, tensor in enumerate(subgraph.tensors):
                if not tensor.is_variable:
                    continue
                if plan.offline is None or plan.offline[graph][index] == ONLINE:
                    size, alignment = tensor.nbytes, BUFFER_ALIGNMENT_BYTES
                    self._allocate("variable", size, alignment, "variables", graph, index)

    def interface(self, plan: HeadPlan) -> None:
        """The `TfLiteTensor` of every input and output, after the plan."""
        graph = self.program.model.subgraphs[0]
        for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
            self._buffer(f"{what} TfLiteTensor*[]", self.layout.pointer.size_bytes * len(indices))
            for index in indices:
                self._interface_tensor(index, graph.tensors[index])
        self.peaks.append(Peak("final", plan.head_bytes + self.used_bytes))

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
        """The recording allocator's rows; an array of structs counts one for each element.

        For an empty array TFLM adds a 32-bit -1 to a counter of `size_t`, which is 2^32 on lp64.
        """
        names = CATEGORIES + (("compression",) if self.program.build.compression else ())
        totals = {name: [0, 0, 0] for name in names}
        elements = {
            "TfLiteEvalTensor[]": self.layout.eval_tensor.size_bytes,
            "NodeAndRegistration[]": self.layout.node_and_registration.size_bytes,
        }
        empty = 1 << 32 if self.program.build.abi is Abi.LP64 else 0
        for event in self.trace:
            if not event.category:
                continue
            each = elements.get(event.what)
            count = 1 if each is None else event.requested_bytes // each or empty
            total = totals[event.category]
            total[0] += event.requested_bytes
            total[1] += event.used_bytes
            total[2] += count
        return {name: Category(*total) for name, total in totals.items()}
