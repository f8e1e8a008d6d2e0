"""A model over T frames that is causal in time becomes a step model: one frame in, state kept.

What each operator does to time decides what becomes of it. Operators on single frames run on the
present one. A convolution over padded frames keeps the last ones. A recurrence that a converter
unrolled is found by what repeats. SELECTIVE_SCAN keeps its state, and where its steps have
parameters of their own it is told their numbers. A mean over time is a sum that runs along.

The step gives a frame of each sequence of results, and each time anew what the source gives at the
end, so that this is right after T steps. Everything is exact but what `Streamed.changes` names: a
mean whose rounding differs for some sums, and unrolled frames that were quantized each for itself.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

import numpy as np

from refmicro.errors import UnsupportedError, UsageError
from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.ops.selective_scan import SERIAL, decode_options, encode_options
from refmicro.program import prepare_model
from refmicro.transform._draft import Draft
from refmicro.transform._frames import (
    CONVOLUTIONS,
    PADS,
    REDUCTIONS,
    Frames,
    Part,
    Sequence,
    Whole,
    selection,
)
from refmicro.transform._running_mean import running_mean
from refmicro.transform._unrolled import Unrolled, find_unrolled
from refmicro.transform._values import MOVES, Values
from refmicro.transform.calling import call_step
from refmicro.transform.fuse import fold_constants
from refmicro.transform.proof import Machine, Open
from refmicro.transform.step_model import Form, State, StepModel, topological, with_state
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor, TflmBuild

Mean = Literal["running", "window"]
"""How a mean over time is kept."""


@dataclass(frozen=True)
class Streamed:
    """A step model and how it stands for its source.

    Attributes:
        step: the step.
        steps: T.
        input_axes: the axis of time of each input of the source.
        output_axes: the same of each output, None for what is right after T steps.
        changes: where numbers change, in words; empty for an exact result.
        form: where the step keeps its state.
    """

    step: StepModel
    steps: int
    input_axes: tuple[int, ...]
    output_axes: tuple[int | None, ...]
    changes: tuple[str, ...]
    form: Form = "io"

    @functools.cached_property
    def parts(self) -> tuple[Model, ...]:
        """The model that runs once for each frame."""
        return (with_state(self.step, self.form),)

    def arrangement(self, open_model: Open) -> Machine:
        """A machine like the source that runs the step T times: what is proven."""
        return self.arrangement_of(self.parts, open_model)

    def arrangement_of(self, models: Items[Model], open_model: Open) -> Machine:
        """The same with another model, where the step was transformed since."""
        (model,) = models
        return _WholeSequence(self, call_step(self.step, self.form, model, open_model))


class _WholeSequence:
    """Runs the step for each frame of a sequence."""

    def __init__(self, streamed: Streamed, machine: Machine) -> None:
        self.streamed = streamed
        self.machine = machine
        self.shapes = [streamed.step.tensors[i].shape for i in streamed.step.frames]

    def reset(self) -> None:
        """Every sequence begins anew."""

    def invoke(self, inputs: Items[np.ndarray]) -> list[np.ndarray]:
        """One sequence: frames in, results put together."""
        streamed = self.streamed
        self.machine.reset()
        rows: list[list[np.ndarray]] = []
        for t in range(streamed.steps):
            frames = [
                np.ascontiguousarray(np.take(x, [t], axis)).reshape(shape)
                for x, axis, shape in zip(inputs, streamed.input_axes, self.shapes, strict=True)
            ]
            rows.append(self.machine.invoke(frames))
        return [
            rows[-1][number]
            if axis is None
            else np.concatenate([row[number] for row in rows], axis)
            for number, axis in enumerate(streamed.output_axes)
        ]


def stream(
    model: Model,
    *,
    time_axis: int | None = None,
    mean: Mean = "running",
    changes: bool = False,
    form: Form = "io",
) -> Streamed:
    """The step model of a model over whole sequences.

    Args:
        model: the source; one subgraph without state.
        time_axis: the axis of its inputs along which time runs; by default the second one of three
            or more, else the first.
        mean: how a mean over time is kept: as a sum, which may round otherwise than MEAN does, or
            as a window of the last T frames, which is exact and needs their memory.
        changes: allow what changes numbers.
        form: where the step keeps its state.

    Raises:
        UnsupportedError: an operator that is not causal or not known here, or numbers would change
            without leave.
        UsageError: inputs with different numbers of frames.
    """
    plain, frames = frames_of(model, time_axis)
    graph = plain.subgraphs[0]
    builder = _Builder(frames, mean)
    streamed = builder.streamed(graph.inputs, graph.outputs)
    if streamed.changes and not changes:
        raise UnsupportedError(
            f"the step model would change numbers: {'; '.join(streamed.changes)}",
            hint="--fuse-scan keeps every step's own scales and --mean window keeps a mean exact; "
            "--allow-changes takes it as it is",
        )
    return dataclasses.replace(streamed, form=form)


def frames_of(model: Model, time_axis: int | None) -> tuple[Model, Frames]:
    """The model with what is constant computed, and which of its values belong to which frames.

    Args:
        model: the source; one subgraph without state.
        time_axis: the axis of time of its inputs, see `stream`.

    Raises:
        UnsupportedError: an operator that is not causal or not known here.
        UsageError: inputs with different numbers of frames.
    """
    prepare_model(model, TflmBuild.firmware())
    if len(model.subgraphs) != 1 or any(t.is_variable for t in model.subgraphs[0].tensors):
        raise UnsupportedError(
            "a model over whole sequences must have one subgraph and no state",
            hint="a step model has its state already; a loop holds its step",
        )
    plain = fold_constants(model)
    graph = plain.subgraphs[0]
    axes = {}
    for index in graph.inputs:
        rank = len(graph.tensors[index].shape)
        axis = (1 if rank > 2 else 0) if time_axis is None else time_axis
        if not -rank <= axis < rank:
            raise UsageError(f"an axis must be below {rank}: {axis}")
        axes[index] = axis % rank
    counts = {graph.tensors[i].shape[axis] for i, axis in axes.items()}
    if len(counts) != 1:
        raise UsageError(f"all inputs must have the same number of frames: {sorted(counts)}")
    return plain, Frames(Values.of(graph), counts.pop(), axes)


class _Builder:
    """Makes the step: `step` holds its tensor for each value of the source."""

    def __init__(self, frames: Frames, mean: Mean) -> None:
        self.frames = frames
        self.mean = mean
        self.values = frames.values
        self.steps = frames.steps
        self.draft = Draft(list(self.values.graph.tensors), [], (), (), "step")
        self.step: dict[int, int] = {}
        self.states: list[State] = []
        self.changes: list[str] = []
        self.registers: dict[int, int] = {}

    def streamed(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Streamed:
        """The finished step."""
        for index in inputs:
            self.step[index] = self._new(index, self._frame_shape(index))
        unrolled = find_unrolled(self.frames)
        for number, op in enumerate(self.values.graph.operators):
            self._operator(number, op)
        if unrolled is not None:
            self._unrolled(unrolled)
        results = [self._result(index) for index in outputs]
        order = topological(_needs(self.draft.operators))
        if order is None:
            raise UnsupportedError("the step would need its own results")
        self.draft.operators[:] = [self.draft.operators[number] for number in order]
        self.draft.inputs = tuple(self.step[i] for i in inputs)
        self.draft.outputs = (*(tensor for tensor, _ in results), *(s.new for s in self.states))
        self.draft.index()
        self.draft.tidy()
        step = StepModel(
            tuple(self.draft.tensors),
            tuple(self.draft.operators),
            self.draft.inputs,
            tuple(tensor for tensor, _ in results),
            tuple(self.states),
            tuple(self.changes),
        )
        axes = tuple(self.frames.kinds[i].axis for i in inputs)
        kinds = tuple(axis for _, axis in results)
        return Streamed(step, self.steps, axes, kinds, tuple(self.changes))

    def _result(self, value: int) -> tuple[int, int | None]:
        """The step's tensor for an output, and its axis of time."""
        kind = self.frames.kind(value)
        if isinstance(kind, Sequence) and not kind.lead:
            return self.step[value], kind.axis
        if isinstance(kind, Part) and kind.frame == self.steps - 1 and kind.source is not None:
            return self._leaf(value), None
        if isinstance(kind, Whole):
            return self.step[value], None
        raise UnsupportedError(
            f"an output must be a sequence or depend on the last frame: tensor {value} does not"
        )

    # Tensors

    def _frame_shape(self, value: int) -> tuple[int, ...]:
        """A value's shape with one frame instead of all."""
        kind, shape = self.frames.kinds[value], self.frames.tensor(value).shape
        return tuple(1 if axis == kind.axis else size for axis, size in enumerate(shape))

    def _new(self, value: int, shape: tuple[int, ...] | None = None) -> int:
        """A tensor like a value's, perhaps of another shape."""
        item = self.frames.tensor(value)
        return self.draft.add_tensor(
            dataclasses.replace(
                item, shape=item.shape if shape is None else shape, shape_signature=(), name=""
            )
        )

    def _constant(self, values: Items[int]) -> int:
        array = np.array(values, np.int32)
        item = Tensor("", DType.INT32, array.shape, NO_QUANTIZATION, array.tobytes())
        return self.draft.add_tensor(item)

    def _emit(
        self, name: str, inputs: Items[int], output: int, table: str, **options: object
    ) -> int:
        self.draft.operators.append(
            Operator(OperatorCode(name), tuple(inputs), (output,), options, table)
        )
        return output

    def _put(self, op: Operator, inputs: Items[int], outputs: Items[int], **more: object) -> None:
        self.draft.operators.append(
            dataclasses.replace(op, inputs=tuple(inputs), outputs=tuple(outputs), **more)
        )

    # Operators

    def _operator(self, number: int, op: Operator) -> None:
        """What becomes of one operator of the source."""
        kinds = [self.frames.kind(i) for i in op.outputs]
        if number in self.frames.joins:
            # Its present frame is put in later, when the frames before it are known.
            output = op.outputs[0]
            self.step[output] = self._new(output, self._frame_shape(output))
            return
        if all(isinstance(kind, Part) for kind in kinds):
            return
        runs_along = isinstance(self.frames.kind(op.inputs[0]), Sequence)
        if op.name == "MEAN" and runs_along and isinstance(kinds[0], Whole):
            self._mean(op)
            return
        if kinds[0] is None or isinstance(kinds[0], Whole):
            self._alone(op)
        elif op.name in MOVES:
            for value, kind in zip(op.outputs, kinds, strict=True):
                if isinstance(kind, Sequence):
                    base, within = self.frames.extracts(value)
                    self.step[value] = self._select(base, within, self._frame_shape(value))
        elif op.name in PADS:
            self.step[op.outputs[0]] = self.step[op.inputs[0]]
        elif op.name in CONVOLUTIONS:
            self._convolution(op)
        elif op.name == "SELECTIVE_SCAN":
            self._scan(op)
        elif op.name == "CONCATENATION" and kinds[0].lead:
            self.step[op.outputs[0]] = self.step[op.inputs[1]]
        else:
            self._frame_by_frame(op)

    def _alone(self, op: Operator) -> None:
        """An operator on constants, or on what depends on all frames: as it was."""
        inputs = [self._whole(i) for i in op.inputs]
        for index in op.outputs:
            self.step[index] = index
        self._put(op, inputs, op.outputs)

    def _whole(self, value: int) -> int:
        kind = self.frames.kind(value) if value >= 0 else None
        if isinstance(kind, Part):
            return self._leaf(value)
        return value if kind is None else self.step[value]

    def _frame_by_frame(self, op: Operator) -> None:
        inputs = [self.step[i] if i in self.frames.kinds else i for i in op.inputs]
        output = op.outputs[0]
        self.step[output] = self._new(output, self._frame_shape(output))
        options = op.options
        if op.name in REDUCTIONS:
            assert self.frames.kinds[op.inputs[0]].lead == 0
        if op.name == "RESHAPE":
            options = {"new_shape": self._frame_shape(output)}
        self._put(op, inputs, [self.step[output]], options=options)

    def _select(self, base: int, within: np.ndarray, shape: tuple[int, ...]) -> int:
        """Elements of the present frame of a sequence, in a shape."""
        source, own = self.step[base], self._frame_shape(base)
        how = selection(own, within)
        if how is None:
            raise UnsupportedError(
                f"elements of a frame are taken in an order that is not known: tensor {base}",
                hint="write the model with slices along one axis or a transposition",
            )
        kind, details = how
        if kind == "turn":
            turned = self._new(base, tuple(own[axis] for axis in details))
            order = self._constant(details)
            source = self._emit("TRANSPOSE", (source, order), turned, "TransposeOptions")
        elif kind == "cut":
            source = self._cut(base, source, own, details)
        target = self._new(base, shape)
        return self._emit("RESHAPE", (source,), target, "ReshapeOptions", new_shape=shape)

    def _cut(self, base: int, source: int, shape: tuple[int, ...], cut: tuple[int, ...]) -> int:
        """A range along one axis."""
        axis, begin, end = cut
        begins = [begin if i == axis else 0 for i in range(len(shape))]
        ends = [end if i == axis else size for i, size in enumerate(shape)]
        result = self._new(base, tuple(e - b for b, e in zip(begins, ends, strict=True)))
        inputs = (source, self._constant(begins), self._constant(ends))
        ones = self._constant([1] * len(shape))
        return self._emit("STRIDED_SLICE", (*inputs, ones), result, "StridedSliceOptions")

    def _leaf(self, value: int) -> int:
        """The present frame's part of a sequence, in a value's shape."""
        kind = self.frames.kinds[value]
        return self._select(kind.source, np.array(kind.within), self.frames.tensor(value).shape)

    def _convolution(self, op: Operator) -> None:
        """A convolution over the last frames, which are the state."""
        value, output = op.inputs[0], op.outputs[0]
        kind = self.frames.kinds[value]
        source = self._register(value, kind) if kind.lead else self.step[value]
        self.step[output] = self._new(output, self._frame_shape(output))
        self._put(op, (source, *op.inputs[1:]), [self.step[output]])

    def _register(self, value: int, kind: Sequence) -> int:
        """The last frames and the present one; the former are kept."""
        if value in self.registers:
            return self.registers[value]
        one = self._frame_shape(value)

        def shape(count: int) -> tuple[int, ...]:
            return tuple(count if axis == kind.axis else n for axis, n in enumerate(one))

        old = self._new(value, shape(kind.lead))
        both = self._new(value, shape(kind.lead + 1))
        self._emit(
            "CONCATENATION",
            (old, self.step[value]),
            both,
            "ConcatenationOptions",
            axis=kind.axis,
            fused_activation_function=0,
        )
        new = self._cut(value, both, shape(kind.lead + 1), (kind.axis, 1, kind.lead + 1))
        self.states.append(State(old, new, kind.fill, f"frames{len(self.states)}"))
        self.registers[value] = both
        return both

    def _scan(self, op: Operator) -> None:
        """SELECTIVE_SCAN with a state; a counter tells it its step where steps differ."""
        scan = decode_options(op.custom_options)
        output = op.outputs[0]
        self.step[output] = self._new(output, self._frame_shape(output))
        dtype = DType.INT8 if scan.state_bits == 8 else DType.INT16
        item = Tensor("", dtype, (scan.channels, scan.size), Quantization((1.0,), (scan.start,)))
        old, new = self.draft.add_tensor(item), self.draft.add_tensor(item)
        first = np.full(item.elements, scan.start, item.dtype.numpy).tobytes()
        self.states.append(State(old, new, first, f"scan{len(self.states)}"))
        inputs = [self.step[i] if i in self.frames.kinds else i for i in op.inputs]
        inputs[7] = old
        if len(scan.sets) == 1:
            scan = dataclasses.replace(scan, steps=1)
        else:
            scan = dataclasses.replace(scan, flags=scan.flags | SERIAL)
            inputs.append(self._counter())
        options = encode_options(scan)
        self._put(op, inputs, [self.step[output], new], custom_options=options)

    def _counter(self) -> int:
        """How many steps there were before this one."""
        item = Tensor("", DType.INT32, (1,))
        old, new = self.draft.add_tensor(item), self.draft.add_tensor(item)
        one = self._constant([1])
        self._emit("ADD", (old, one), new, "AddOptions", fused_activation_function=0)
        self.states.append(State(old, new, bytes(4), f"counter{len(self.states)}"))
        return old

    def _mean(self, op: Operator) -> None:
        """A sum that runs along, and its mean over T, whenever one asks."""
        value, output = op.inputs[0], op.outputs[0]
        item, result = self.frames.tensor(value), self.frames.tensor(output)
        if self.mean == "window":
            self._window_mean(op)
            return
        if item.dtype is not DType.INT8 or result.dtype is not DType.INT8:
            raise UnsupportedError(f"a mean over time must be of int8: found {item.dtype}")
        rounding = running_mean(item, result, self.steps)
        if not rounding.exact:
            self.changes.append(
                "the mean over time rounds at each step"
                if rounding.rounds
                else f"the mean over time differs for {rounding.differ} of {rounding.sums} sums "
                f"by up to {rounding.steps}"
            )
        shape = self._frame_shape(value)
        wide = Tensor("", DType.INT16, shape, Quantization((rounding.scale,), (0,)))
        old, term, new = (self.draft.add_tensor(wide) for _ in range(3))
        self._emit("QUANTIZE", (self.step[value],), term, "QuantizeOptions")
        self._emit("ADD", (old, term), new, "AddOptions", fused_activation_function=0)
        self.states.append(State(old, new, bytes(wide.nbytes), f"sum{len(self.states)}"))
        mean = dataclasses.replace(
            wide, shape=result.shape, quantization=Quantization((rounding.mean_scale,), (0,))
        )
        mean_tensor = self.draft.add_tensor(mean)
        self._emit("RESHAPE", (new,), mean_tensor, "ReshapeOptions", new_shape=result.shape)
        self.step[output] = self._emit("QUANTIZE", (mean_tensor,), output, "QuantizeOptions")

    def _window_mean(self, op: Operator) -> None:
        """The mean of the last T frames."""
        value, output = op.inputs[0], op.outputs[0]
        kind, item = self.frames.kinds[value], self.frames.tensor(value)
        lead = self.steps - 1
        count = lead * math.prod(self._frame_shape(value))
        fill = np.full(count, item.zero_point, item.dtype.numpy).tobytes()
        frames = self._register(value, Sequence(kind.axis, lead, fill))
        self.step[output] = output
        self._put(op, (frames, *op.inputs[1:]), [output])

    # Unrolled frames

    def _unrolled(self, unrolled: Unrolled) -> None:
        """The operators of one frame, what it reads of the frame before as state."""
        self.changes += unrolled.changes
        made: dict[int, int] = {}
        for (old, new), start in zip(unrolled.states, unrolled.initial, strict=True):
            item = unrolled.tensors.get(new, self.frames.tensor(new))
            made[old] = self.draft.add_tensor(dataclasses.replace(item, data=None, name=""))
            fresh = np.full(item.elements, item.zero_point, item.dtype.numpy).tobytes()
            if start is not None:
                fresh = bytes(self.frames.tensor(start).data)
            made[new] = self.draft.add_tensor(dataclasses.replace(item, name=""))
            name = f"state{len(self.states)}"
            self.states.append(State(made[old], made[new], fresh, name))
        for number in unrolled.operators:
            op = self.values.graph.operators[number]
            outputs = [self._made(made, unrolled, index) for index in op.outputs]
            self._put(op, [self._given(made, unrolled, i) for i in op.inputs], outputs)
        for number, value in unrolled.results.items():
            output = self.values.graph.operators[number].outputs[0]
            shape = self._frame_shape(output)
            result = self._join(made, unrolled, value, output, shape)
            self._redirect(output, result)

    def _made(self, made: dict[int, int], unrolled: Unrolled, value: int) -> int:
        if value not in made:
            item = unrolled.tensors.get(value, self.frames.tensor(value))
            made[value] = self.draft.add_tensor(dataclasses.replace(item, name=""))
        return made[value]

    def _given(self, made: dict[int, int], unrolled: Unrolled, value: int) -> int:
        kind = self.frames.kind(value) if value >= 0 else None
        if kind is None:
            return value
        if value not in made and kind.source is not None:
            made[value] = self._leaf(value)
        return self._made(made, unrolled, value)

    def _join(
        self, made: dict[int, int], unrolled: Unrolled, value: int, output: int, shape: tuple
    ) -> int:
        """The present frame of a join's output."""
        item, whole = self.draft.tensors[made[value]], self.frames.tensor(output)
        result = self.draft.add_tensor(dataclasses.replace(item, shape=shape, name=""))
        self._emit("RESHAPE", (made[value],), result, "ReshapeOptions", new_shape=shape)
        if item.quantization != whole.quantization:
            rescaled = self._new(output, shape)
            result = self._emit("QUANTIZE", (result,), rescaled, "QuantizeOptions")
        assert math.prod(shape) == item.elements
        return result

    def _redirect(self, value: int, result: int) -> None:
        """Let what reads a join's output, made before it was known, read the result."""
        promised = self.step.pop(value, None)
        self.step[value] = result
        if promised is None:
            return
        for number, op in enumerate(self.draft.operators):
            if promised in op.inputs:
                inputs = tuple(result if i == promised else i for i in op.inputs)
                self.draft.operators[number] = dataclasses.replace(op, inputs=inputs)


def _needs(operators: list[Operator]) -> list[set[int]]:
    producer = {index: number for number, op in enumerate(operators) for index in op.outputs}
    return [{producer[i] for i in op.inputs if i in producer} for op in operators]
