"""Where to cut a list of operators: what each segment costs, and the best cuts.

A segment is the operators [start, end) as a model of its own. It costs the arena that TFLM needs
for it plus what is carried past it meanwhile. That is measured by the arena model, which takes too
long for every segment, so that a bound from below comes first: structs without their alignments,
and the bytes that live in the segment. The search takes bounds for costs, measures the segments of
what it finds, and searches again until all of the answer is measured: then nothing is better.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refmicro.memory.abi import (
    BUFFER_ALIGNMENT_BYTES,
    align,
    int_array_bytes,
    layout,
    params_struct,
)
from refmicro.model.graph import Subgraph
from refmicro.program import PreparedNode, Program
from refmicro.types import Tensor

FROM_START = -1
"""The maker of a model's inputs."""

NEVER = np.int64(1 << 60)
"""What a segment costs that cannot be a part."""

Segment = tuple[int, int]
Path = list[Segment]
Tick = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Flow:
    """Values of a subgraph, by tensor, and what is carried at each cut.

    Attributes:
        graph: the subgraph.
        makers: the operator that writes a value first, `FROM_START` for inputs.
        last: the last operator that touches it.
        carried_bytes: by cut, from 0 to the number of operators: what stays while another part
            runs. A model's inputs are not there before the first part, and its outputs not after
            the last one, unless an output is an input: those are in the parts' arenas. State is
            there at any time.
        allowed: by cut, whether it may be one.
    """

    graph: Subgraph
    makers: dict[int, int]
    last: dict[int, int]
    carried_bytes: list[int]
    allowed: list[bool]

    @staticmethod
    def of(graph: Subgraph, kept: Sequence[tuple[int, int]] = ()) -> Flow:
        """The flow through a subgraph; `kept` are inputs and outputs that are one state."""
        makers: dict[int, int] = dict.fromkeys(graph.inputs, FROM_START)
        last = dict(makers)
        writers = Counter(graph.inputs)
        count = len(graph.operators)
        for index, op in enumerate(graph.operators):
            for tensor in {*op.inputs, *op.outputs} - {-1}:
                if is_value(graph, tensor):
                    makers.setdefault(tensor, index)
                    last[tensor] = index
            writers.update(set(op.outputs))
        change = [0] * (count + 2)
        allowed = [True] * (count + 1)
        through = 0
        for tensor, maker in makers.items():
            size = slot_bytes(graph.tensors[tensor])
            end = count if tensor in graph.outputs else last[tensor]
            if tensor in graph.outputs and maker == FROM_START:
                through += size
            if end > maker:
                change[maker + 1] += size
                change[end + 1] -= size
            if writers[tensor] > 1:
                # What is written twice is one buffer, which a cut would make two.
                first = max(maker, 0)
                allowed[first + 1 : last[tensor] + 1] = [False] * (last[tensor] - first)
        for old, new in kept:
            size = slot_bytes(graph.tensors[old])
            through += size
            if makers[new] > last[old]:
                change[last[old] + 1] += size
                change[makers[new] + 1] -= size
        carried = list(itertools.accumulate(change[: count + 1]))
        carried[0] = carried[count] = through
        return Flow(graph, makers, last, carried, allowed)

    def thinned(self, cuts: int) -> Flow:
        """The flow with at most so many cuts besides the ends, where the least is carried."""
        count = len(self.graph.operators)
        allowed = [False] * (count + 1)
        allowed[0] = allowed[count] = True
        for group in np.array_split(np.arange(1, count), cuts):
            possible = [int(cut) for cut in group if self.allowed[cut]]
            if possible:
                allowed[min(possible, key=self.carried_bytes.__getitem__)] = True
        return dataclasses.replace(self, allowed=allowed)

    def outlives(self, tensor: int, end: int) -> bool:
        """Whether a value is needed by operators from `end` on or by the caller."""
        return self.last[tensor] >= end or tensor in self.graph.outputs


def is_value(graph: Subgraph, tensor: int) -> bool:
    """Whether a tensor is computed or comes from the caller, whatever its size."""
    return tensor in graph.inputs or not graph.tensors[tensor].is_constant


def slot_bytes(tensor: Tensor) -> int:
    """What a tensor takes in a plan."""
    return align(tensor.nbytes, BUFFER_ALIGNMENT_BYTES)


class Costs:
    """Costs of all segments up to a limit: bounds from below, or measured.

    `rows[start][end - start - 1]` is the cost; a row ends where no longer segment can be below the
    limit. `measure` gives the arena that a segment requires.
    """

    def __init__(
        self,
        program: Program,
        flow: Flow,
        limit_bytes: int,
        measure: Callable[[Segment], int],
        tick: Tick,
    ) -> None:
        self.flow = flow
        self.count = len(flow.graph.operators)
        self._measure = measure
        self.measured: dict[Segment, int] = {}
        self.rows: list[np.ndarray] = []
        bounds = _Bounds(program, flow)
        for start in range(self.count):
            row = bounds.row(start, limit_bytes) if flow.allowed[start] else []
            self.rows.append(np.array(row, np.int64))
            tick(start + 1, self.count)

    def outside_bytes(self, segment: Segment) -> int:
        """What is carried while a segment runs."""
        return max(self.flow.carried_bytes[cut] for cut in segment)

    def cost(self, segment: Segment) -> int:
        """The measured cost, from now on also in `rows`."""
        if segment not in self.measured:
            start, end = segment
            total = self._measure(segment) + self.outside_bytes(segment)
            self.measured[segment] = total
            self.rows[start][end - start - 1] = total
        return self.measured[segment]

    def worst(self, path: Path) -> int:
        """The largest measured cost of a path."""
        return max(self.cost(segment) for segment in path)


class _Bounds:
    """The least that segments can cost."""

    def __init__(self, program: Program, flow: Flow) -> None:
        self._flow = flow
        self._sizes = layout(program.build)
        self._slots = [slot_bytes(tensor) for tensor in flow.graph.tensors]
        self._nodes = [_Use.of(node, program, flow) for node in program.nodes[0]]
        sizes = self._sizes
        self._base_bytes = sum(
            struct.size_bytes
            for struct in (
                sizes.arena_allocator,
                sizes.planner,
                sizes.allocator,
                sizes.builtin_data_allocator,
                sizes.subgraph_allocations,
            )
        )

    def _interface_bytes(self, tensor: int) -> int:
        """What TFLM keeps for an input or output."""
        total = self._sizes.tensor.size_bytes
        quantization = self._flow.graph.tensors[tensor].quantization
        if quantization.is_affine:
            total += self._sizes.affine_quantization.size_bytes
            total += int_array_bytes(len(quantization.scale))
        return total

    def row(self, start: int, limit_bytes: int) -> list[int]:
        """Bounds of the segments that begin at an operator, by length from 1 on."""
        flow, sizes, slots = self._flow, self._sizes, self._slots
        row: list[int] = []
        live = _Live(start, len(self._nodes))
        seen: set[int] = set()
        last_read: dict[int, int] = {}
        needed: dict[int, int] = {}
        tail = self._base_bytes
        shared = buffers = scratches = 0
        for index in range(start, len(self._nodes)):
            use = self._nodes[index]
            new = use.tensors - seen
            seen |= new
            tail += use.tail_bytes + sizes.eval_tensor.size_bytes * len(new)
            scratches += use.scratches
            buffers += use.scratches + sum(1 for t in new if t in flow.makers and slots[t])
            tail += sizes.scratch_buffer_handle.size_bytes * use.scratches
            live.enter(index, sum(slots[t] for t in use.made) + use.scratch_bytes)
            for tensor in use.read:
                if flow.makers[tensor] < start:
                    live.outside(slots[tensor], last_read.get(tensor, FROM_START))
                    if tensor not in last_read:
                        shared += self._interface_bytes(tensor)
                    last_read[tensor] = index
            for tensor in use.made:
                if flow.outlives(tensor, index + 1):
                    live.open_bytes += slots[tensor]
                    needed[tensor] = self._interface_bytes(tensor)
            for tensor in use.ended:
                if needed.pop(tensor, None) is not None:
                    live.open_bytes -= slots[tensor]
            planner = sizes.allocation_info.size_bytes * (len(seen) + scratches)
            planner += sizes.planner_buffer.size_bytes * buffers
            most = max(live.peak_bytes + shared, planner) + tail
            if most + flow.carried_bytes[start] > limit_bytes:
                break
            most = max(most, live.peak_bytes + shared + sum(needed.values()) + tail)
            outside = max(flow.carried_bytes[start], flow.carried_bytes[index + 1])
            possible = flow.allowed[index + 1] and needed
            total = align(most, BUFFER_ALIGNMENT_BYTES) + outside
            row.append(total if possible else int(NEVER))
        return row


@dataclass(frozen=True)
class _Use:
    """What one operator brings to a segment; `ended` are values that nothing touches later."""

    tensors: frozenset[int]
    read: tuple[int, ...]
    made: tuple[int, ...]
    ended: tuple[int, ...]
    tail_bytes: int
    scratches: int
    scratch_bytes: int

    @staticmethod
    def of(node: PreparedNode, program: Program, flow: Flow) -> _Use:
        """The use that a prepared operator makes of tensors and memory."""
        op, build = node.operator, program.build
        values = {t for t in (*op.inputs, *op.outputs) if t in flow.makers}
        tail = layout(build).node_and_registration.size_bytes
        if node.spec.params is not None:
            tail += params_struct(node.spec.params, build.abi).size_bytes
        tail += sum(
            align(size, BUFFER_ALIGNMENT_BYTES)
            for size in (*node.init_bytes, *node.persistent_bytes)
        )
        made = tuple(t for t in sorted(values) if flow.makers[t] == node.index)
        return _Use(
            frozenset(t for t in (*op.inputs, *op.outputs, *op.intermediates) if t >= 0),
            tuple(t for t in sorted(values) if flow.makers[t] != node.index),
            made,
            tuple(
                t
                for t in sorted(values)
                if flow.last[t] == node.index and t not in flow.graph.outputs
            ),
            tail,
            len(node.scratch_bytes),
            sum(align(size, BUFFER_ALIGNMENT_BYTES) for size in node.scratch_bytes),
        )


class _Live:
    """Bytes that live at each operator of a segment that grows at its end.

    Values from outside live from the segment's start to their last reader, so that each new reader
    raises what came before. `_all_bytes` is added to every place, to have that in one step.
    """

    def __init__(self, start: int, count: int) -> None:
        self._start = start
        self._at = np.zeros(count - start, np.int64)
        self._all_bytes = 0
        self._peak = 0
        self._end = 0
        self.open_bytes = 0

    @property
    def peak_bytes(self) -> int:
        """The most that lives at one operator."""
        return self._peak + self._all_bytes

    def enter(self, index: int, own_bytes: int) -> None:
        """The next operator, with its outputs and scratch buffers, over what is open."""
        place = index - self._start
        self._end = place + 1
        value = self.open_bytes + own_bytes - self._all_bytes
        self._at[place] = value
        self._peak = value if place == 0 else max(self._peak, value)

    def outside(self, size_bytes: int, last_read: int) -> None:
        """The newest operator reads a value from outside, read before at `last_read` if at all."""
        if last_read == FROM_START:
            self._all_bytes += size_bytes
            return
        late = self._at[last_read + 1 - self._start : self._end]
        late += size_bytes
        if late.size:
            self._peak = max(self._peak, int(late.max()))


# Searching


def lowest(costs: Costs) -> Path | None:
    """The path whose largest cost is the smallest, None where there is no path."""
    best = np.full(costs.count + 1, NEVER)
    before = np.zeros(costs.count + 1, np.int64)
    best[0] = 0
    for start, row in enumerate(costs.rows):
        if best[start] >= NEVER:
            continue
        _improve(best, before, start, np.maximum(row, best[start]))
    return _path(best, before)


def fewest(costs: Costs, limit_bytes: int) -> Path | None:
    """The path of the fewest segments that all cost at most the limit."""
    return fewest_between(costs, limit_bytes, 0, costs.count)


def fewest_between(costs: Costs, limit_bytes: int, first: int, last: int) -> Path | None:
    """The same from one cut to another one."""
    best = np.full(last + 1, NEVER)
    before = np.zeros(last + 1, np.int64)
    best[first] = 0
    for start in range(first, last):
        row = costs.rows[start][: last - start]
        if best[start] < NEVER:
            _improve(best, before, start, np.where(row <= limit_bytes, best[start] + 1, NEVER))
    return _path(best, before, first)


def lowest_of(costs: Costs, parts: int) -> Path | None:
    """As `lowest`, of at most that many segments."""
    best = np.full((parts + 1, costs.count + 1), NEVER)
    before = np.zeros((parts + 1, costs.count + 1), np.int64)
    best[0, 0] = 0
    for start, row in enumerate(costs.rows):
        reach = slice(start + 1, start + 1 + len(row))
        offered = np.maximum(best[:-1, start, None], row[None, :])
        better = offered < best[1:, reach]
        best[1:, reach][better] = offered[better]
        before[1:, reach][better] = start
    part = int(best[:, costs.count].argmin())
    if best[part, costs.count] >= NEVER:
        return None
    path, end = [], costs.count
    while part:
        start = int(before[part, end])
        path.append((start, end))
        part, end = part - 1, start
    return path[::-1]


def _improve(best: np.ndarray, before: np.ndarray, start: int, offered: np.ndarray) -> None:
    reach = slice(start + 1, start + 1 + len(offered))
    better = offered < best[reach]
    best[reach][better] = offered[better]
    before[reach][better] = start


def _path(best: np.ndarray, before: np.ndarray, first: int = 0) -> Path | None:
    if best[-1] >= NEVER:
        return None
    path, end = [], len(best) - 1
    while end > first:
        start = int(before[end])
        path.append((start, end))
        end = start
    return path[::-1]


@dataclass(frozen=True)
class Settled:
    """A path, all of it measured, and whether nothing is better."""

    path: Path
    optimal: bool


def settle(
    costs: Costs,
    find: Callable[[Costs], Path | None],
    key: Callable[[Path], float],
    deadline: float,
) -> Settled | None:
    """Search and measure in turn; the best measured path by `key` where time is over.

    Returns:
        None where there is no path, or none with a finite key was met in time.
    """
    best: Path | None = None
    while (path := find(costs)) is not None:
        if all(segment in costs.measured for segment in path):
            return Settled(path, True)
        costs.worst(path)
        if key(path) < (key(best) if best is not None else float("inf")):
            best = path
        if time.process_time() > deadline:
            return Settled(best, False) if best is not None else None
    return None
