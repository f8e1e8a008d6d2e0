"""The arena of a prepared model, byte for byte as TFLM's allocator fills it.

`model_arena` replays what `MicroInterpreter` does from its constructor to the end of
`AllocateTensors`. All figures are for an arena whose start and size are multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES, align
from refmicro.memory.head import PlannedScratch, PlannedTensor, head_plan
from refmicro.memory.lifetimes import Lifetimes, Step, lifetimes
from refmicro.memory.tail import CATEGORIES, Category, Peak, Tail, TailAllocation
from refmicro.program import Program

__all__ = [
    "CATEGORIES",
    "Arena",
    "Category",
    "Peak",
    "PlannedScratch",
    "PlannedTensor",
    "Step",
    "TailAllocation",
    "model_arena",
]


@dataclass(frozen=True, eq=False)
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
        live_bytes: at each step, bytes of planned buffers that live, each rounded up to 16.
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


def model_arena(program: Program) -> Arena:
    """The arena of a prepared model in the build it was prepared for.

    Raises:
        UnsupportedError: if TFLM refuses the model's offline plan, or if an operator with scratch
            buffers lies in a subgraph that nothing runs, for which TFLM plans with garbage.
        InvalidModelError: if the offline plan is damaged.
    """
    clock = lifetimes(program)
    plan = head_plan(program, clock)
    tail = Tail(program)
    tail.create()
    tail.start_model()
    tail.prepare()
    tail.finish(plan)
    tail.interface(plan)
    return Arena(
        used_bytes=plan.head_bytes + tail.used_bytes,
        required_bytes=align(max(peak.bytes for peak in tail.peaks), BUFFER_ALIGNMENT_BYTES),
        head_bytes=plan.head_bytes,
        tail_bytes=tail.used_bytes,
        lower_bound_bytes=max(plan.live_bytes),
        categories=tail.categories(),
        tensors=plan.tensors,
        scratch=plan.scratch,
        trace=tuple(tail.trace),
        peaks=tuple(tail.peaks),
        lifetimes=clock,
        live_bytes=plan.live_bytes,
    )
