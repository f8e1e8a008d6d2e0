"""Unrolled recurrences: finds the operators that repeat for each frame, and what they carry over.

Two neighbouring frames are laid over each other, beginning at the values that a join puts together,
and followed backwards operator by operator. Where a frame reads a value of the frame before, that
is a state. Every frame must lie over the next one; the first frame may differ, because there is
nothing before it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from refmicro.errors import UnsupportedError
from refmicro.transform._draft import quantum
from refmicro.transform._frames import Frames, Part
from refmicro.types import INTEGER_LIMITS, DType, Quantization, Tensor


@dataclass
class _Overlay:
    """Values of one frame to those of the frame before; states by the value that carries them.

    `states` maps what a frame reads of the frame before to what that frame reads of the one before
    it, None where it reads a constant or nothing.
    """

    same: dict[int, int] = field(default_factory=dict)
    states: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Unrolled:
    """What all frames have in common, told by the values of one frame, the reference.

    Attributes:
        frame: the reference.
        results: by join, the value of the reference that goes into it.
        operators: the reference's operators in order, by place.
        states: (old, new): what the reference reads of the frame before, and its own value of it.
        initial: for each state the constant that the first frame reads; None for zero.
        tensors: tensors of the reference's values on one quantization for all frames.
        members: by value of the reference, the values of all frames that play its part.
        changes: where frames differ, in words; empty where the result is exact.
    """

    frame: int
    results: dict[int, int]
    operators: tuple[int, ...]
    states: tuple[tuple[int, int], ...]
    initial: tuple[int | None, ...]
    tensors: dict[int, Tensor]
    members: dict[int, tuple[int, ...]]
    changes: tuple[str, ...]


def find_unrolled(frames: Frames) -> Unrolled | None:
    """The repeated part of a model; None where it has none.

    Raises:
        UnsupportedError: where frames do not repeat.
    """
    if not frames.joins:
        return None
    if frames.steps < 3:
        raise UnsupportedError(
            f"an unrolled model must have 3 frames or more to show what repeats: {frames.steps}"
        )
    overlays: dict[int, _Overlay] = {}
    roots: dict[int, int] = {}
    for t in range(frames.steps - 1, 1, -1):
        overlays[t] = _lay_over(frames, t, roots, strict=True)
        roots = overlays[t].states
    first = _lay_over(frames, 1, roots, strict=False)
    reference = frames.steps - 2
    states = tuple((old, new) for new, old in overlays[frames.steps - 1].states.items())
    states = tuple(sorted(states, key=lambda pair: pair[1]))
    for t in range(frames.steps - 1, 2, -1):
        _check_states(frames, overlays[t], overlays[t - 1])
    results = {number: parts[reference] for number, parts in frames.joins.items()}
    operators = _operators(frames, {*results.values(), *(new for _, new in states)}, reference)
    roles = _roles(frames, overlays, reference)
    tensors, changes = _one_quantization(frames, roles)
    initial, begins = _initial(frames, overlays, first, states, reference)
    members = {value: tuple(group) for value, group in roles.items()}
    changes += begins
    return Unrolled(
        reference, results, operators, states, initial, tensors, members, tuple(changes)
    )


def _lay_over(
    frames: Frames, frame: int, roots: dict[int, int], *, strict: bool
) -> _Overlay | None:
    """A frame over the one before; None where they differ, or a refusal if `strict`.

    It begins at what joins read, and at `roots`, which the frame behind reads as its states.
    """
    overlay = _Overlay()
    queue = [(parts[frame], parts[frame - 1]) for parts in frames.joins.values()]
    queue += roots.items()
    while queue:
        now, before = queue.pop()
        if now in overlay.same:
            if overlay.same[now] == before:
                continue
        elif (more := _pairs(frames, frame, now, before, overlay)) is not None:
            overlay.same[now] = before
            queue += more
            continue
        if not strict:
            return None
        raise UnsupportedError(
            f"frames of an unrolled model must repeat: frame {frame} differs from frame "
            f"{frame - 1} at tensors {now} and {before}",
            hint="the model is not the same for each frame",
        )
    return overlay


def _pairs(
    frames: Frames, frame: int, now: int, before: int, overlay: _Overlay
) -> list[tuple[int, int]] | None:
    """What must lie over each other if two values do; None if they cannot."""
    a, b = frames.kind(now), frames.kind(before)
    if b is None and frame == 1 and frames.values.operator(before) is not None:
        # What the first frame computes of a constant state is constant.
        b = Part(0)
    if not isinstance(a, Part) or not isinstance(b, Part):
        return None
    if a.frame != frame or b.frame != frame - 1:
        return None
    if (a.source, a.within) != (b.source, b.within):
        return None
    if a.source is not None:
        return []
    (_, op), (_, other) = frames.values.operator(now), frames.values.operator(before)
    alike = (
        op.code == other.code
        and op.options == other.options
        and op.custom_options == other.custom_options
        and len(op.inputs) == len(other.inputs)
        and op.outputs.index(now) == other.outputs.index(before)
        and frames.tensor(now).shape == frames.tensor(before).shape
        and frames.tensor(now).dtype is frames.tensor(before).dtype
    )
    if not alike:
        return None
    more = []
    for i, j in zip(op.inputs, other.inputs, strict=True):
        kind = frames.kind(i) if i >= 0 else None
        if isinstance(kind, Part) and kind.frame == frame:
            more.append((i, j))
        elif isinstance(kind, Part) and kind.frame == frame - 1 and kind.source is None:
            if overlay.states.setdefault(i, j) != j:
                return None
        elif kind is not None or not _same_constant(frames, i, j):
            return None
    return more


def _same_constant(frames: Frames, a: int, b: int) -> bool:
    if a == b:
        return True
    if a < 0 or b < 0:
        return False
    one, other = frames.tensor(a), frames.tensor(b)
    return (
        one.is_constant
        and other.is_constant
        and (one.dtype, one.shape, quantum(one)) == (other.dtype, other.shape, quantum(other))
        and bytes(one.data) == bytes(other.data)
    )


def _check_states(frames: Frames, now: _Overlay, before: _Overlay) -> None:
    """What a frame carries must be what the frame before carried, one frame later."""
    if set(now.states.values()) != set(before.states):
        raise UnsupportedError(
            "frames of an unrolled model must carry the same values over",
            hint="the model is not the same for each frame",
        )
    for value, earlier in now.states.items():
        if before.same.get(value, earlier) != earlier:
            raise UnsupportedError("frames of an unrolled model must carry the same values over")


def _operators(frames: Frames, wanted: set[int], frame: int) -> tuple[int, ...]:
    """Places of the operators of one frame that some of its values need."""
    found, queue, seen = set(), list(wanted), set(wanted)
    while queue:
        value = queue.pop()
        kind = frames.kind(value)
        if not isinstance(kind, Part) or kind.frame != frame or kind.source is not None:
            continue
        number, op = frames.values.operator(value)
        found.add(number)
        for index in op.inputs:
            if index >= 0 and index not in seen:
                seen.add(index)
                queue.append(index)
    return tuple(sorted(found))


def _roles(frames: Frames, overlays: dict[int, _Overlay], reference: int) -> dict[int, list[int]]:
    """For each value of the reference all values, of any frame, that play its part."""
    role = overlays[reference + 1].same
    current = {value: value for value in role.values()}
    for new in overlays[reference + 1].states:
        current.setdefault(new, new)
    members: dict[int, list[int]] = {}
    for now, value in role.items():
        members.setdefault(value, []).append(now)
    for t in range(reference, 0, -1):
        for value, owner in current.items():
            members.setdefault(owner, []).append(value)
        if t == 1:
            break
        current = {
            overlays[t].same[value]: owner
            for value, owner in current.items()
            if value in overlays[t].same
        }
    for new, old in overlays[2].states.items() if 2 in overlays else ():
        for group in members.values():
            if new in group and old is not None and old not in group:
                group.append(old)
    return members


def _one_quantization(
    frames: Frames, roles: dict[int, list[int]]
) -> tuple[dict[int, Tensor], list[str]]:
    """Tensors of the reference, where frames differ on a scale that holds what all of them hold."""
    tensors: dict[int, Tensor] = {}
    apart = 0
    for value, members in roles.items():
        item = frames.tensor(value)
        every = {quantum(frames.tensor(member)) for member in members}
        if len(every) == 1:
            tensors[value] = item
            continue
        apart += 1
        tensors[value] = dataclasses.replace(item, quantization=_union(item, every))
    text = f"{apart} values of each frame have other scales in other frames: they get one scale"
    return tensors, [text] if apart else []


def _union(item: Tensor, every: set[tuple]) -> Quantization:
    """A quantization on which all ranges fit."""
    if item.dtype is not DType.INT8 or any(len(scale) != 1 for scale, _, _ in every):
        raise UnsupportedError(
            f"frames with different scales can be joined for int8: found {item.dtype}"
        )
    low, high = INTEGER_LIMITS[item.dtype]
    least = min(scale[0] * (low - point[0]) for scale, point, _ in every)
    most = max(scale[0] * (high - point[0]) for scale, point, _ in every)
    scale = (max(most, 0.0) - min(least, 0.0)) / (high - low)
    return Quantization((scale,), (round(low - min(least, 0.0) / scale),))


def _initial(
    frames: Frames,
    overlays: dict[int, _Overlay],
    first: _Overlay | None,
    states: tuple[tuple[int, int], ...],
    reference: int,
) -> tuple[tuple[int | None, ...], list[str]]:
    """What the first frame reads as its old states: constants, or else zero."""
    begins: list[int | None] = []
    for _, new in states:
        value: int | None = new
        for t in range(reference + 1, 1, -1):
            value = overlays[t].states[value]
        start = None if first is None else first.states.get(value)
        constant = start is not None and frames.tensor(start).is_constant
        begins.append(start if constant else None)
    changes = ["the first frame has no state before it: here it reads zero"]
    return tuple(begins), changes if None in begins else []
