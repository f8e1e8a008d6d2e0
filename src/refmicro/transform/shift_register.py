"""The last inputs of a causal convolution, kept by TFLM's own CIRCULAR_BUFFER.

A streaming convolution keeps its last frames in a variable tensor, puts the new frame behind them
with CONCATENATION, convolves, and writes all but the oldest back with STRIDED_SLICE. That takes the
frames twice. CIRCULAR_BUFFER shifts them in place, and the convolution reads them where they are.
Frames then lie along the height instead of the width, so that the filter and its options turn; the
bytes of filter and frames are the same, and so are all sums.

Source: `tensorflow/lite/micro/kernels/circular_buffer{,_common}.cc`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.transform._draft import Draft, same_values, with_drafts
from refmicro.transform._values import Values
from refmicro.types import DType, Tensor

CODE = OperatorCode("CUSTOM", "CIRCULAR_BUFFER")

OPTIONS = b"cycles_max\0\x01\x0c\x01\x01\x01\x01\x04\x02\x24\x01"
"""The flexbuffer {"cycles_max": 1}: go on after each input."""

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})

_VALID = 1


@dataclass(frozen=True)
class Shifted:
    """A model in which CIRCULAR_BUFFER keeps the last frames of convolutions.

    Attributes:
        model: the result.
        removed: what was done, in words; empty where there was nothing to do.
    """

    model: Model
    removed: tuple[str, ...]


@dataclass(frozen=True)
class _Register:
    """A variable with the last frames; `frames` is the value that holds them and the new one."""

    variable: int
    join: int
    frame: int
    frames: int
    back: int
    convolutions: tuple[int, ...]
    slots: int
    depth: int


def fuse_shift_registers(model: Model) -> Shifted:
    """Use CIRCULAR_BUFFER wherever a variable holds the last frames of convolutions."""
    removed = []
    drafts = [Draft.of(graph) for graph in model.subgraphs]
    for number, (graph, draft) in enumerate(zip(model.subgraphs, drafts, strict=True)):
        values = Values.of(graph)
        reshapes = {}
        for variable in sorted(values.final):
            found = _register(values, variable)
            if found is not None:
                reshapes[found.join] = _replace(draft, found)
                removed.append(
                    f"subgraph {number}: {found.slots} frames of {found.depth} values are kept by "
                    "CIRCULAR_BUFFER"
                )
        for place in sorted(reshapes, reverse=True):
            draft.operators.insert(place, reshapes[place])
        draft.index()
        draft.tidy()
    if not removed:
        return Shifted(model, ())
    result, unplanned = with_drafts(model, drafts)
    if unplanned:
        removed.append("the offline plan, which was for other tensors")
    return Shifted(result, tuple(removed))


def _register(values: Values, variable: int) -> _Register | None:
    item = values.graph.tensors[variable]
    if not item.is_variable or item.dtype is not DType.INT8:
        return None
    readers = values.readers(variable)
    new = values.final[variable]
    frames, index = values.view(new)
    join = values.named(frames, "CONCATENATION")
    if len(readers) != 1 or join is None or readers[0][0] != join[0] or values.readers(new):
        return None
    number, op = join
    order = values.joined(op)
    sides = [values.alias(i) for i in op.inputs]
    if len(sides) != 2 or sides[0] != variable or order is None or not _counts(order, 0):
        return None
    frame = sides[1]
    depth, total = values.tensor(frame).elements, values.tensor(frames).elements
    back = values.operator(new)
    if total % depth or not _counts(index, depth) or index.size != total - depth or back is None:
        return None
    convolutions = _convolutions(values, frames, new, total // depth, depth)
    if not convolutions or not same_values(values.tensor(frame), item):
        return None
    return _Register(variable, number, frame, frames, back[0], convolutions, total // depth, depth)


def _counts(index: np.ndarray, start: int) -> bool:
    return bool((index.reshape(-1) == np.arange(index.size) + start).all())


def _convolutions(values: Values, frames: int, new: int, slots: int, depth: int) -> tuple[int, ...]:
    """The convolutions over all frames; none where anything else reads the frames."""
    found = []
    for number, op in values.readers(frames):
        if new in op.outputs:
            continue
        shape = values.tensor(op.inputs[0]).shape
        if (
            op.name not in CONVOLUTIONS
            or shape != (1, 1, slots, depth)
            or op.options.get("padding") != _VALID
            or values.tensor(op.inputs[1]).shape[1] != 1
            or values.tensor(op.outputs[0]).shape[1:3] != (1, 1)
            or not values.tensor(op.inputs[1]).is_constant
        ):
            return ()
        found.append(number)
    return tuple(found) if not values.is_output(frames) else ()


def _replace(draft: Draft, found: _Register) -> Operator:
    """Put CIRCULAR_BUFFER in its place; the RESHAPE that must stand before it."""
    old = draft.tensors[found.variable]
    frame: Tensor = dataclasses.replace(
        draft.tensors[found.frame], shape=(1, 1, 1, found.depth), shape_signature=()
    )
    buffer = draft.add_tensor(
        dataclasses.replace(old, shape=(1, found.slots, 1, found.depth), shape_signature=())
    )
    single = draft.add_tensor(frame)
    draft.put(found.back, None)
    draft.put(found.join, Operator(CODE, (single,), (buffer,), custom_options=OPTIONS))
    for number in found.convolutions:
        _turn(draft, number, buffer)
    return Operator(
        OperatorCode("RESHAPE"),
        (found.frame,),
        (single,),
        {"new_shape": frame.shape},
        "ReshapeOptions",
    )


def _turn(draft: Draft, number: int, buffer: int) -> None:
    """Let a convolution read the frames along the height."""
    op = draft.operators[number]
    filters = draft.tensors[op.inputs[1]]
    count, height, width, depth = filters.shape
    turned = draft.add_tensor(
        dataclasses.replace(filters, shape=(count, width, height, depth), shape_signature=())
    )
    options = dict(op.options)
    for one, other in (
        ("stride_w", "stride_h"),
        ("dilation_w_factor", "dilation_h_factor"),
    ):
        options[one], options[other] = options[other], options[one]
    inputs = (buffer, turned, *op.inputs[2:])
    draft.put(number, dataclasses.replace(op, inputs=inputs, options=options))
