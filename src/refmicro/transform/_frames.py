"""Which values of a model belong to which frames: the first half of making a step model.

Every value is constant, a sequence (one part for each frame, along one axis), a part of one frame,
or something that depends on the last frame and so on all of them. `classify` walks the operators
once and says which; what mixes frames in a way that a step cannot is refused with its reason.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Operator
from refmicro.program import place
from refmicro.transform._draft import quantum
from refmicro.transform._shapes import BINARY, UNARY
from refmicro.transform._values import JOINS, MOVES, Values
from refmicro.types import Tensor


@dataclass(frozen=True)
class Sequence:
    """T frames along an axis, and before them `lead` frames that are constant."""

    axis: int
    lead: int = 0
    fill: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Part:
    """Of one frame. A leaf is an extract of a sequence: its source, and which elements of its
    frame; what is computed of parts has no source."""

    frame: int
    source: int | None = None
    within: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Whole:
    """Depends on all frames; it is what the source gives once the last frame has been seen."""


Kind = Sequence | Part | Whole
"""What a value is; a value without a kind is constant."""

ROWWISE = frozenset({"L2_NORMALIZATION", "LOG_SOFTMAX", "SOFTMAX"})
"""Operators along the last axis."""

REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"})
"""Operators with axes as their second input."""

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})

PADS = frozenset({"PAD", "PADV2"})

VALID = 1
"""`Padding_VALID`."""


class Frames:
    """Kinds of all values of a subgraph."""

    def __init__(self, values: Values, steps: int, axes: dict[int, int]) -> None:
        self.values = values
        self.steps = steps
        self.kinds: dict[int, Kind] = {i: Sequence(axis) for i, axis in axes.items()}
        self.joins: dict[int, tuple[int, ...]] = {}
        for number, op in enumerate(values.graph.operators):
            self._number = number
            self._operator(op)
        self._finish_parts()

    def kind(self, value: int) -> Kind | None:
        """What a value is, None for a constant."""
        return self.kinds.get(value)

    def tensor(self, value: int) -> Tensor:
        """Its tensor."""
        return self.values.tensor(value)

    def refuse(self, op: Operator, why: str) -> UnsupportedError:
        """An operator that a step cannot do."""
        return UnsupportedError(
            f"{place(0, self._number, op.name)} cannot be done frame by frame: {why}",
            hint="only what depends on frames up to the present one can be streamed",
        )

    def _operator(self, op: Operator) -> None:
        kinds = [self.kind(i) for i in op.inputs if i >= 0]
        moving = [kind for kind in kinds if kind is not None]
        if not moving:
            return
        if any(isinstance(kind, Whole) for kind in moving):
            if not all(isinstance(kind, Whole) or _is_last(kind, self.steps) for kind in moving):
                raise self.refuse(op, "it mixes single frames with what depends on all of them")
            self._set(op, Whole())
        elif op.name in JOINS and all(isinstance(kind, Part) for kind in moving):
            self._join(op, moving)
        elif any(isinstance(kind, Part) for kind in moving):
            if not all(isinstance(kind, Part) for kind in moving):
                raise self.refuse(op, "it mixes one frame with all of them")
            self._set(op, Part(max(kind.frame for kind in moving)))
        else:
            self._sequence(op)

    def _set(self, op: Operator, kind: Kind) -> None:
        for index in op.outputs:
            self.kinds[index] = kind

    def _sequence(self, op: Operator) -> None:
        """An operator on whole sequences and constants."""
        if op.name in MOVES:
            for index in op.outputs:
                self.kinds[index] = self._moved(op, index)
            return
        rule = {
            **dict.fromkeys(UNARY, self._elementwise),
            **dict.fromkeys(BINARY, self._broadcast),
            **dict.fromkeys(ROWWISE, self._rowwise),
            **dict.fromkeys(REDUCTIONS, self._reduction),
            **dict.fromkeys(CONVOLUTIONS, self._convolution),
            **dict.fromkeys(PADS, self._pad),
            "CONCATENATION": self._concatenation,
            "FULLY_CONNECTED": self._fully_connected,
            "SELECTIVE_SCAN": self._scan,
        }.get(op.name)
        if rule is None:
            raise self.refuse(op, "what it does to time is not known")
        self.kinds[op.outputs[0]] = rule(op)

    def _plain(self, op: Operator, value: int) -> Sequence:
        kind = self.kinds[value]
        if kind.lead:
            raise self.refuse(op, "frames that were padded in front may only be convolved")
        return kind

    def _elementwise(self, op: Operator) -> Sequence:
        return self._plain(op, op.inputs[0])

    def _broadcast(self, op: Operator) -> Sequence:
        """All sequences have one axis in the output, and constants are the same for all frames."""
        rank = len(self.tensor(op.outputs[0]).shape)
        axes = {
            self._plain(op, i).axis + rank - len(self.tensor(i).shape)
            for i in op.inputs
            if i in self.kinds
        }
        if len(axes) != 1:
            raise self.refuse(op, "its inputs have time along different axes")
        (axis,) = axes
        for index in op.inputs:
            shape = self.tensor(index).shape
            own = axis - rank + len(shape)
            if index not in self.kinds and own >= 0 and shape[own] != 1:
                raise self.refuse(op, "a constant is another one for each frame")
        return Sequence(axis)

    def _rowwise(self, op: Operator) -> Sequence:
        kind = self._plain(op, op.inputs[0])
        if kind.axis == len(self.tensor(op.inputs[0]).shape) - 1:
            raise self.refuse(op, "it works along time")
        return kind

    def _reduction(self, op: Operator) -> Kind:
        kind = self._plain(op, op.inputs[0])
        rank = len(self.tensor(op.inputs[0]).shape)
        axes = {int(a) % rank for a in self.tensor(op.inputs[1]).array().reshape(-1)}
        if kind.axis in axes:
            if axes != {kind.axis} or op.name != "MEAN":
                raise self.refuse(op, "only a MEAN over time alone runs along")
            return Whole()
        gone = 0 if op.options.get("keep_dims") else sum(axis < kind.axis for axis in axes)
        return Sequence(kind.axis - gone)

    def _convolution(self, op: Operator) -> Sequence:
        kind = self.kinds[op.inputs[0]]
        taps, dilation = self.taps(op, kind)
        side = "h" if kind.axis == 1 else "w"
        if kind.axis not in (1, 2) or op.options.get(f"stride_{side}", 1) != 1:
            raise self.refuse(op, "it must go through height or width with a stride of 1")
        if taps > 1 and op.options.get("padding") != VALID:
            raise self.refuse(op, "its padding looks into the future")
        if kind.lead != (taps - 1) * dilation:
            raise self.refuse(
                op, f"{(taps - 1) * dilation} frames must be padded in front: {kind.lead}"
            )
        return Sequence(kind.axis)

    def taps(self, op: Operator, kind: Sequence) -> tuple[int, int]:
        """Size of the filter along time, and its dilation."""
        shape = self.tensor(op.inputs[1]).shape
        side = "h" if kind.axis == 1 else "w"
        return shape[kind.axis], op.options.get(f"dilation_{side}_factor", 1)

    def _pad(self, op: Operator) -> Sequence:
        kind = self._plain(op, op.inputs[0])
        item, output = self.tensor(op.inputs[0]), self.tensor(op.outputs[0])
        amounts = self.tensor(op.inputs[1]).array().reshape(-1, 2)
        if amounts[kind.axis, 1] or any(
            amounts[axis].any() for axis in range(len(item.shape)) if axis != kind.axis
        ):
            raise self.refuse(op, "only time may be padded, and only in front")
        lead = int(amounts[kind.axis, 0])
        shape = [lead if axis == kind.axis else n for axis, n in enumerate(item.shape)]
        value = output.zero_point
        if op.name == "PADV2":
            value = self.tensor(op.inputs[2]).array().reshape(-1)[0]
        fill = np.full(shape, value, output.dtype.numpy).tobytes()
        return Sequence(kind.axis, lead, fill)

    def _concatenation(self, op: Operator) -> Sequence:
        axis = op.options.get("axis", 0) % len(self.tensor(op.outputs[0]).shape)
        kinds = [self.kind(i) for i in op.inputs]
        moving = {kind.axis for kind in kinds if kind is not None}
        if moving == {axis}:
            front = self.tensor(op.inputs[0])
            if len(op.inputs) != 2 or kinds[0] is not None or not front.is_constant:
                raise self.refuse(op, "only constant frames may be put in front")
            self._plain(op, op.inputs[1])
            if quantum(front) != quantum(self.tensor(op.inputs[1])):
                raise self.refuse(op, "the constant frames have another quantization")
            return Sequence(axis, front.shape[axis], bytes(front.data))
        if len(moving) != 1 or None in kinds:
            raise self.refuse(op, "its inputs have time along different axes")
        for index in op.inputs:
            self._plain(op, index)
        return kinds[0]

    def _fully_connected(self, op: Operator) -> Sequence:
        if any(i in self.kinds for i in op.inputs[1:]):
            raise self.refuse(op, "its weights are not constant")
        axis = self._plain(op, op.inputs[0]).axis
        shape, output = self.tensor(op.inputs[0]).shape, self.tensor(op.outputs[0]).shape
        if axis == len(shape) - 1:
            raise self.refuse(op, "it works along time")
        return Sequence(self._axis_after(op, math.prod(shape[:axis]), output[:-1]))

    def _scan(self, op: Operator) -> Sequence:
        if len(op.inputs) != 8 or len(op.outputs) != 1 or op.inputs[7] >= 0:
            raise self.refuse(op, "it must begin without a state and keep it to itself")
        for index in op.inputs:
            if index in self.kinds:
                axis = self._plain(op, index).axis
                if math.prod(self.tensor(index).shape[:axis]) != 1:
                    raise self.refuse(op, "time must be the outermost axis of its inputs")
        return Sequence(self._axis_after(op, 1, self.tensor(op.outputs[0]).shape))

    def _axis_after(self, op: Operator, before: int, shape: tuple[int, ...]) -> int:
        """The axis with T frames that has `before` elements in front."""
        for axis, size in enumerate(shape):
            if size == self.steps and math.prod(shape[:axis]) == before:
                return axis
        raise self.refuse(op, f"its output has no axis of {self.steps} frames")

    # Moves, parts

    def _moved(self, op: Operator, value: int) -> Kind:
        """A choice of elements of a sequence: a sequence again, or a part of it."""
        taken = self.values.taken(value)
        if taken is None:
            raise self.refuse(op, "what it does to time is not known")
        base, index = taken
        kind = self.kinds[base]
        shape = self.tensor(base).shape
        coordinates = list(np.unravel_index(index, shape))
        frames = coordinates[kind.axis] - kind.lead
        coordinates[kind.axis] = np.zeros_like(frames)
        one = tuple(1 if axis == kind.axis else n for axis, n in enumerate(shape))
        within = np.ravel_multi_index(coordinates, one)
        if frames.size and (frames == frames.flat[0]).all() and frames.flat[0] >= 0:
            return Part(int(frames.flat[0]), base, tuple(int(i) for i in within.reshape(-1)))
        for axis, size in enumerate(index.shape):
            turned = np.moveaxis(frames, axis, 0).reshape(size, -1)
            if not (turned == turned[:, :1]).all():
                continue
            order = np.moveaxis(within, axis, 0).reshape(size, -1)
            if not (order == order[:1]).all():
                continue
            first = int(turned[0, 0])
            in_order = (turned[:, 0] == np.arange(first, first + size)).all()
            if in_order and first in (0, -kind.lead) and size + first == self.steps:
                return Sequence(axis, -first, self._moved_fill(kind, -first, within, axis))
        raise self.refuse(op, "it takes frames apart in a way that a step cannot")

    def _moved_fill(self, kind: Sequence, lead: int, within: np.ndarray, axis: int) -> bytes:
        """The constant frames in front, their elements moved like those of all frames."""
        if not lead:
            return b""
        item_bytes = len(kind.fill) // (lead * int(np.prod(within.shape)) // within.shape[axis])
        old = np.frombuffer(kind.fill, np.dtype(f"V{item_bytes}"))
        if not (old == old[0]).all():
            raise UnsupportedError(
                "constant frames in front of a sequence must be all alike where they are moved"
            )
        return kind.fill

    def extracts(self, value: int) -> tuple[int, np.ndarray]:
        """The sequence that a moved value is of, and which elements of a frame make one of its."""
        base, index = self.values.taken(value)
        kind = self.kinds[base]
        shape = self.tensor(base).shape
        coordinates = list(np.unravel_index(index, shape))
        frames = coordinates[kind.axis]
        coordinates[kind.axis] = np.zeros_like(frames)
        one = tuple(1 if axis == kind.axis else n for axis, n in enumerate(shape))
        within = np.ravel_multi_index(coordinates, one)
        return base, within[frames == frames.flat[-1]].reshape(-1)

    def _join(self, op: Operator, kinds: list[Part]) -> None:
        """Parts of all frames, in order, are a sequence."""
        frames = [kind.frame for kind in kinds]
        order = self.values.joined(op)
        if frames != list(range(self.steps)) or order is None:
            if len(set(frames)) == 1:
                self._set(op, Part(frames[0]))
                return
            raise self.refuse(op, "it puts frames together out of order")
        size = self.tensor(op.inputs[0]).elements
        which = (order // size).reshape(self.tensor(op.outputs[0]).shape)
        for axis, count in enumerate(which.shape):
            turned = np.moveaxis(which, axis, 0).reshape(count, -1)
            if count == self.steps and (turned == np.arange(count)[:, None]).all():
                self.kinds[op.outputs[0]] = Sequence(axis)
                self.joins[self._number] = op.inputs
                return
        raise self.refuse(op, "it puts frames together out of order")

    def _finish_parts(self) -> None:
        """What is computed of the last frame alone, for no join, is computed once all were seen."""
        graph = self.values.graph
        joined = self.ancestors({i for parts in self.joins.values() for i in parts})
        for number, op in enumerate(graph.operators):
            self._number = number
            if not any(isinstance(self.kind(i), Part) for i in op.outputs):
                continue
            if set(op.outputs) & joined:
                continue
            kinds = [self.kind(i) for i in op.inputs if i in self.kinds]
            leaf = op.name in MOVES and self.kinds[op.outputs[0]].source is not None
            if leaf or any(i in joined and self.kinds[i].source is None for i in op.inputs):
                continue
            if all(isinstance(kind, Whole) or _is_last(kind, self.steps) for kind in kinds):
                self._set(op, Whole())

    def ancestors(self, values: set[int]) -> set[int]:
        """Parts that some values are computed of, those included."""
        found, queue = set(values), list(values)
        while queue:
            before = self.values.operator(queue.pop())
            for index in before[1].inputs if before is not None else ():
                if isinstance(self.kind(index), Part) and index not in found:
                    found.add(index)
                    queue.append(index)
        return found


def _is_last(kind: Kind, steps: int) -> bool:
    return isinstance(kind, Part) and kind.frame == steps - 1


def selection(shape: tuple[int, ...], within: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
    """How to take elements out of one frame: as they are, transposed, or a range of one axis.

    Returns `("same", ())`, `("turn", order)` or `("cut", (axis, begin, end))`, None for neither.
    """
    counted = np.arange(math.prod(shape)).reshape(shape)
    if within.size == counted.size and (within == counted.reshape(-1)).all():
        return "same", ()
    if within.size == counted.size and len(shape) <= 5:
        for order in itertools.permutations(range(len(shape))):
            if (counted.transpose(order).reshape(-1) == within).all():
                return "turn", order
    for axis, size in enumerate(shape):
        count = within.size * size // counted.size
        if not 0 < count < size or within.size * size % counted.size:
            continue
        begin = int(np.unravel_index(int(within[0]), shape)[axis])
        if begin + count <= size:
            cut = np.take(counted, range(begin, begin + count), axis)
            if (cut.reshape(-1) == within).all():
                return "cut", (axis, begin, begin + count)
    return None
