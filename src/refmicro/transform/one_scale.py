"""The frames of an unrolled recurrence on one scale each, so that they repeat byte for byte.

A converter calibrates every value of every frame by itself. Two frames that compute the same then
differ in their scales, and nothing of the model repeats. Here each value gets the scale that holds
its ranges in all frames. That changes numbers, and the frames become equal: `split` can make them
one model that is called several times. Operators come frame by frame, which any order allows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.transform._draft import Draft, quantum, with_drafts
from refmicro.transform._frames import Frames, Part
from refmicro.transform._unrolled import Unrolled, find_unrolled
from refmicro.transform.step_model import topological
from refmicro.transform.stream import frames_of
from refmicro.types import INTEGER_LIMITS, Quantization, Tensor


@dataclass(frozen=True)
class OneScale:
    """A model whose frames repeat.

    Attributes:
        model: the result.
        frames: T.
        changes: where numbers change, in words; empty where frames were on one scale before.
    """

    model: Model
    frames: int
    changes: tuple[str, ...]


def one_scale(model: Model, *, time_axis: int | None = None) -> OneScale:
    """One scale for each value of an unrolled recurrence, in all its frames.

    Args:
        model: the source; one subgraph without state.
        time_axis: see `stream`.

    Raises:
        UnsupportedError: where nothing was unrolled, or frames do not repeat but for their scales.
        UsageError: inputs with different numbers of frames.
    """
    plain, frames = frames_of(model, time_axis)
    unrolled = find_unrolled(frames)
    if unrolled is None:
        raise UnsupportedError(
            "a model must have unrolled frames to put them on one scale: found none",
            hint="frames that a PACK or CONCATENATION puts together are looked at",
        )
    draft = Draft.of(plain.subgraphs[0])
    moved = 0
    for value, members in unrolled.members.items():
        wanted = unrolled.tensors[value].quantization
        for member in members:
            item = draft.tensors[member]
            if quantum(item) != quantum(dataclasses.replace(item, quantization=wanted)):
                draft.tensors[member] = _on(item, wanted)
                moved += 1
    keys = _frame_by_frame(draft, frames, unrolled)
    more = _rescaled_joins(draft, unrolled, {i for group in frames.joins.values() for i in group})
    order = _sorted(draft, keys)
    draft.operators[:] = [op for number in order for op in (*more[number], draft.operators[number])]
    draft.index()
    result, _ = with_drafts(plain, [draft])
    text = f"{moved} values of {frames.steps} frames get the scale that holds them in every frame"
    return OneScale(result, frames.steps, (text,) if moved else ())


def _on(item: Tensor, quantization: Quantization) -> Tensor:
    """The tensor on another scale; a constant's numbers are rounded to it."""
    if not item.is_constant:
        return dataclasses.replace(item, quantization=quantization)
    low, high = INTEGER_LIMITS[item.dtype]
    real = (item.array().astype(np.float64) - item.zero_point) * item.scale
    steps = np.rint(real / quantization.scale[0]) + quantization.zero_point[0]
    data = steps.clip(low, high).astype(item.dtype.numpy).tobytes()
    return dataclasses.replace(item, quantization=quantization, data=data)


def _frame_by_frame(draft: Draft, frames: Frames, unrolled: Unrolled) -> list[tuple[int, int]]:
    """For each operator its frame, -1 for those before and T for those after all frames, and its
    place there: that of the operator with its part in the reference."""
    owner = {i: value for value, members in unrolled.members.items() for i in members}
    keys: list[tuple[int, int]] = []
    made: dict[int, int] = {}
    for number, op in enumerate(draft.operators):
        kinds = [frames.kind(i) for i in op.outputs]
        own = {kind.frame if isinstance(kind, Part) else -1 for kind in kinds}
        frame = frames.steps if number in frames.joins else own.pop() if len(own) == 1 else -1
        frame = max([frame, *(made.get(i, -1) for i in op.inputs)])
        alike = owner.get(op.outputs[0]) if op.outputs else None
        place = number if alike is None else draft.producer(alike)
        keys.append((frame, number if place is None else place))
        made |= dict.fromkeys(op.outputs, frame)
    return keys


def _sorted(draft: Draft, keys: list[tuple[int, int]]) -> list[int]:
    """Operators in the order of their keys, each after those that it needs."""
    wanted = sorted(range(len(keys)), key=keys.__getitem__)
    place = {number: index for index, number in enumerate(wanted)}
    maker = {i: number for number, op in enumerate(draft.operators) for i in op.outputs}
    before = [
        {place[maker[i]] for i in draft.operators[number].inputs if i in maker} for number in wanted
    ]
    order = topological(before)
    assert order is not None, "the source has an order"
    return [wanted[index] for index in order]


def _rescaled_joins(
    draft: Draft, unrolled: Unrolled, joined: set[int]
) -> dict[int, list[Operator]]:
    """A join copies bytes, so its inputs go back to its scale where theirs is another now.

    Gives the operators that come before each operator.
    """
    more: dict[int, list[Operator]] = {number: [] for number in range(len(draft.operators))}
    for number in unrolled.results:
        op = draft.operators[number]
        whole = draft.tensors[op.outputs[0]]
        inputs = list(op.inputs)
        for slot, index in enumerate(op.inputs):
            item = draft.tensors[index]
            if index in joined and quantum(item) != quantum(whole):
                fresh = dataclasses.replace(item, quantization=whole.quantization, name="")
                inputs[slot] = draft.add_tensor(fresh)
                code = OperatorCode("QUANTIZE")
                step = Operator(code, (index,), (inputs[slot],), {}, "QuantizeOptions")
                more[number].append(step)
        draft.put(number, dataclasses.replace(op, inputs=tuple(inputs)))
    return more
