"""A step model as the body of a WHILE loop: a model over T frames, its memory that of one step.

TensorFlow's converter cannot make such a model in int8; this is one flatbuffer edit. The loop
carries a counter, the frames, the state, and what becomes of the results: the last one, all of
them, or their sum in 16 bits, from which the mean is taken at the end.

The sum of int8 results on an int16 scale of a quarter of theirs is exact, as long as it stays
inside 16 bits; where T is too large for that, the scale is wider and each addition rounds.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from refmicro.errors import UnsupportedError, UsageError
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.program import prepare_model
from refmicro.transform._draft import Draft, same_values
from refmicro.transform.calling import Caller, Wire
from refmicro.transform.proof import Machine, Open
from refmicro.transform.step_model import StepModel, initial_values, with_state
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor, TflmBuild

Collect = Literal["last", "all", "mean"]
"""What a loop makes of the results of its steps."""

COLLECT: tuple[Collect, ...] = ("last", "all", "mean")

SUM_STEPS_PER_UNIT = 4
"""The sum's scale is the result's divided by this, or wider where the sum would not fit."""

MAX_STEPS = importlib.import_module("refmicro.ops.while").MAX_ITERATIONS
"""From so many iterations on the interpreter takes a loop to be endless."""

_CONDITION, _BODY = 1, 2


@dataclass(frozen=True)
class Looped:
    """A model with a loop.

    Attributes:
        model: the result; its inputs are frames with T in front, its output is what was collected.
        steps: T.
        collect: what was collected.
        exact_sum: whether the mean is the exact sum of all results, rounded once.
        axes: for each input the axis along which it has T frames.
        step: the step, with its state as input and output.
        first: the first values of the state.
        adder: the sum of a mean as a model of its own: sum and result in, sum out.
        tail: what runs once after the loop, as a model of its own.
    """

    model: Model
    steps: int
    collect: Collect
    exact_sum: bool
    axes: tuple[int, ...]
    step: Model
    first: tuple[np.ndarray, ...]
    adder: Model | None
    tail: Model | None

    @property
    def parts(self) -> tuple[Model, ...]:
        """The models that, run one after another, do what the loop does."""
        models = (self.step, self.adder, self.tail)
        return tuple(model for model in models if model is not None)

    def arrangement(self, open_model: Open) -> Machine:
        """A machine like the loop that runs the parts: what the loop is proven against."""
        states = len(self.first)
        frames, results = (
            len(ends) - states
            for ends in (self.step.subgraphs[0].inputs, self.step.subgraphs[0].outputs)
        )
        wires = [Wire(frames + i, results + i, first) for i, first in enumerate(self.first)]
        return self.around(Caller(open_model(self.step), wires), open_model)

    def around(self, step: Machine, open_model: Open) -> Machine:
        """A machine like the loop that runs a step: frames in, the result out, `reset`."""
        return _Repeated(self, step, open_model)


class _Repeated:
    """Runs a step T times and collects."""

    def __init__(self, looped: Looped, step: Machine, open_model: Open) -> None:
        self.looped = looped
        self.step = step
        self.adder = None if looped.adder is None else open_model(looped.adder)
        self.tail = None if looped.tail is None else open_model(looped.tail)

    def reset(self) -> None:
        """Nothing lives from one sequence to the next."""

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One sequence."""
        looped = self.looped
        graph = looped.step.subgraphs[0]
        shapes = [graph.tensors[i].shape for i in graph.inputs[: len(inputs)]]
        self.step.reset()
        results = []
        total = None
        for t in range(looped.steps):
            frames = [
                np.ascontiguousarray(np.take(x, [t], axis)).reshape(shape)
                for x, axis, shape in zip(inputs, looped.axes, shapes, strict=True)
            ]
            (result,) = self.step.invoke(frames)
            results.append(result)
            if self.adder is not None:
                total = np.zeros(result.shape, np.int16) if total is None else total
                (total,) = self.adder.invoke([total, result])
        collected = {"last": result, "all": np.stack(results), "mean": total}[looped.collect]
        return [collected] if self.tail is None else self.tail.invoke([collected])


def while_loop(
    step: StepModel,
    steps: int,
    *,
    collect: Collect = "last",
    head: Model | None = None,
    axes: Sequence[int] | None = None,
) -> Looped:
    """A model that runs a step for each of T frames.

    Args:
        step: the step; it must have one result.
        steps: T.
        collect: what becomes of the results.
        head: a model of one subgraph and one input that runs once on what was collected; a mean
            is rounded to its input's scale, anything else must be on that scale already.
        axes: for each frame input the axis along which the loop's input has T frames, where the
            frame has one; by default the first, or a new one in front of all.

    Raises:
        UsageError: steps below 1 or from `MAX_STEPS` on, or a head that does not fit.
        UnsupportedError: a step with no frame or with several results, or types for which TFLM has
            no kernels here.
    """
    if steps < 1:
        raise UsageError(f"a loop needs at least one step: {steps}")
    if steps >= MAX_STEPS:
        raise UsageError(
            f"a loop must have fewer than {MAX_STEPS:,} steps here: {steps:,}",
            hint="shorter sequences, or steps that the firmware counts (--stream)",
        )
    if len(step.outputs) != 1 or not step.frames:
        raise UnsupportedError(
            "a step in a loop must have frames and one result: "
            f"found {len(step.frames)} and {len(step.outputs)}",
            hint="leave out the outputs that are not needed",
        )
    body = _Body(step, steps)
    body.count()
    for number, frame in enumerate(step.frames):
        body.gather(frame, None if axes is None else axes[number])
    for state, initial in zip(step.states, initial_values(step), strict=True):
        body.carry(state.old, state.new, initial)
    exact = body.collect(step.outputs[0], collect)
    main = _Main(body, steps)
    wanted = body.draft.tensors[step.outputs[0]]
    if head is not None and len(head.subgraphs[0].inputs) == 1:
        wanted = head.subgraphs[0].tensors[head.subgraphs[0].inputs[0]]
    result = main.finished(collect, wanted.quantization)
    main.draft.outputs = (result,) if head is None else _append(main.draft, result, head)
    graphs = (_subgraph(main.draft), body.condition(), _subgraph(body.draft))
    model = Model(graphs, description="a step in a loop")
    prepare_model(model, TflmBuild.firmware())
    return Looped(
        model,
        steps,
        collect,
        exact,
        tuple(body.axes),
        with_state(step, "io"),
        tuple(initial_values(step)),
        body.adder(step.outputs[0]) if collect == "mean" else None,
        main.tail(),
    )


def _subgraph(draft: Draft) -> Subgraph:
    draft.index()
    draft.tidy()
    return draft.subgraph()[0]


def _constant(values: np.ndarray, quantization: Quantization = NO_QUANTIZATION) -> Tensor:
    dtype = next(
        item for item in (DType.INT8, DType.INT16, DType.INT32) if item.numpy == values.dtype
    )
    return Tensor("", dtype, values.shape, quantization, values.tobytes())


@dataclass(frozen=True)
class _Carried:
    """One loop-carried value: the body's input and output, and its first value; None for an input
    of the model."""

    given: int
    result: int
    first: bytes | None


class _Body:
    """The body subgraph while it grows; `carried` are its values in order, the counter first."""

    def __init__(self, step: StepModel, steps: int) -> None:
        self.draft = Draft(list(step.tensors), list(step.operators), (), (), "body")
        self.steps = steps
        self.carried: list[_Carried] = []
        self.before: list[Operator] = []
        self.axes: list[int] = []

    def count(self) -> None:
        """The counter and its increment."""
        counter = Tensor("counter", DType.INT32, (1,))
        self.counter = self.draft.add_tensor(counter)
        following = self.draft.add_tensor(counter)
        one = self.draft.add_tensor(_constant(np.array([1], np.int32)))
        self.operator("ADD", (self.counter, one), following, fused_activation_function=0)
        self._carry(self.counter, following, bytes(4))

    def operator(self, name: str, inputs: Sequence[int], output: int, **options: object) -> None:
        """One more operator behind the others."""
        table = {
            "ADD": "AddOptions",
            "PACK": "PackOptions",
            "CONCATENATION": "ConcatenationOptions",
            "DYNAMIC_UPDATE_SLICE": "DynamicUpdateSliceOptions",
            "RESHAPE": "ReshapeOptions",
            "QUANTIZE": "QuantizeOptions",
        }[name]
        self.draft.operators.append(
            Operator(OperatorCode(name), tuple(inputs), (output,), options, table)
        )

    def _carry(self, given: int, result: int, first: bytes | None) -> None:
        self.draft.inputs += (given,)
        self.draft.outputs += (result,)
        self.carried.append(_Carried(given, result, first))

    def carry(self, old: int, new: int, initial: np.ndarray) -> None:
        """A state."""
        if new in self.draft.outputs or new in self.draft.inputs:
            new = self._copy(new)
        self._carry(old, new, initial.tobytes())

    def _copy(self, value: int) -> int:
        item = self.draft.tensors[value]
        copy = self.draft.add_tensor(dataclasses.replace(item, name=""))
        self.operator("RESHAPE", (value,), copy, new_shape=item.shape)
        return copy

    def gather(self, frame: int, axis: int | None) -> None:
        """A frame out of all frames, which lie along an axis."""
        item = self.draft.tensors[frame]
        if item.dtype not in (DType.INT8, DType.FLOAT32):
            raise UnsupportedError(
                f"GATHER of TFLM takes frames of int8 or float32: found {item.dtype}",
                hint="quantize the input inside the step",
            )
        shape, gathered = item.shape, frame
        if axis is None and item.shape[:1] != (1,):
            shape = (1, *item.shape)
            gathered = self.draft.add_tensor(dataclasses.replace(item, shape=shape))
            options = {"new_shape": item.shape}
            self.before.append(
                Operator(OperatorCode("RESHAPE"), (gathered,), (frame,), options, "ReshapeOptions")
            )
        axis = axis or 0
        if shape[axis] != 1:
            raise UsageError(f"a frame must have size 1 along axis {axis}: {list(shape)}")
        everything = tuple(self.steps if i == axis else size for i, size in enumerate(shape))
        frames = self.draft.add_tensor(
            dataclasses.replace(item, shape=everything, shape_signature=(), name="frames")
        )
        self.before.insert(
            0,
            Operator(
                OperatorCode("GATHER"),
                (frames, self.counter),
                (gathered,),
                {"axis": axis, "batch_dims": 0},
                "GatherOptions",
            ),
        )
        self.axes.append(axis)
        self._carry(frames, frames, None)

    def collect(self, result: int, collect: Collect) -> bool:
        """What becomes of the result; whether a mean is exact."""
        item = self.draft.tensors[result]
        zero = np.full(item.elements, item.zero_point, item.dtype.numpy)
        if collect == "last":
            before = self.draft.add_tensor(dataclasses.replace(item, name="before"))
            if result in (*self.draft.outputs, *self.draft.inputs):
                result = self._copy(result)
            self._carry(before, result, zero.tobytes())
        elif collect == "all":
            self._update(result, item)
        else:
            return self._sum(result, item)
        return True

    def _update(self, result: int, item: Tensor) -> None:
        """Write the result into its row of all results."""
        shape = (self.steps, *item.shape)
        everything = dataclasses.replace(item, name="all", shape=shape, shape_signature=())
        before, after = self.draft.add_tensor(everything), self.draft.add_tensor(everything)
        row = self.draft.add_tensor(dataclasses.replace(item, shape=(1, *item.shape), name=""))
        self.operator("RESHAPE", (result,), row, new_shape=(1, *item.shape))
        zeros = self.draft.add_tensor(_constant(np.zeros(len(item.shape), np.int32)))
        start = self.draft.add_tensor(Tensor("start", DType.INT32, (1 + len(item.shape),)))
        self.operator(
            "CONCATENATION", (self.counter, zeros), start, axis=0, fused_activation_function=0
        )
        self.operator("DYNAMIC_UPDATE_SLICE", (before, row, start), after)
        first = np.full(everything.elements, item.zero_point, item.dtype.numpy).tobytes()
        self._carry(before, after, first)

    def _sum(self, result: int, item: Tensor) -> bool:
        """Add the result, in int16, to the sum of those before."""
        if item.dtype is not DType.INT8:
            raise UnsupportedError(
                f"a mean is taken of int8 results: found {item.dtype}",
                hint="collect the last result or all of them",
            )
        scale, exact = sum_scale(item, self.steps)
        wide = dataclasses.replace(
            item, dtype=DType.INT16, quantization=Quantization((scale,), (0,)), name="sum"
        )
        before, term, after = (self.draft.add_tensor(wide) for _ in range(3))
        self.operator("QUANTIZE", (result,), term)
        self.operator("ADD", (before, term), after, fused_activation_function=0)
        self._carry(before, after, bytes(wide.nbytes))
        return exact

    def adder(self, result: int) -> Model:
        """The operators of `_sum` alone."""
        last = self.carried[-1]
        draft = Draft(self.draft.tensors, self.draft.operators[-2:], (), (), "adder")
        draft.inputs, draft.outputs = (last.given, result), (last.result,)
        return Model((_subgraph(draft),))

    def condition(self) -> Subgraph:
        """counter < T."""
        draft = Draft([], [], (), (), "condition")
        for item in self.carried:
            draft.inputs += (draft.add_tensor(self.draft.tensors[item.given]),)
        limit = draft.add_tensor(_constant(np.array([self.steps], np.int32)))
        result = draft.add_tensor(Tensor("", DType.BOOL, (1,)))
        draft.operators.append(
            Operator(OperatorCode("LESS"), (draft.inputs[0], limit), (result,), {}, "LessOptions")
        )
        draft.outputs = (result,)
        return _subgraph(draft)


def sum_scale(item: Tensor, steps: int) -> tuple[float, bool]:
    """The int16 scale of a sum of `steps` int8 results, and whether no addition can round."""
    largest = steps * max(abs(-128 - item.zero_point), abs(127 - item.zero_point))
    power = SUM_STEPS_PER_UNIT
    while power > 1 and largest * power > np.iinfo(np.int16).max:
        power //= 2
    if largest * power <= np.iinfo(np.int16).max:
        return item.scale / power, True
    return item.scale * 2.0 ** math.ceil(math.log2(largest / np.iinfo(np.int16).max)), False


class _Main:
    """The main subgraph: WHILE, and what makes a result of its last value."""

    def __init__(self, body: _Body, steps: int) -> None:
        body.draft.operators[:0] = body.before
        self.steps = steps
        self.draft = Draft([], [], (), (), "main")
        inputs, outputs = [], []
        for item in body.carried:
            tensor = body.draft.tensors[item.given]
            given = self.draft.add_tensor(dataclasses.replace(tensor, data=item.first))
            if item.first is None:
                self.draft.inputs += (given,)
            inputs.append(given)
            outputs.append(self.draft.add_tensor(dataclasses.replace(tensor, name="")))
        self.body = body
        self.last = outputs[-1]
        self.draft.operators.append(
            Operator(
                OperatorCode("WHILE"),
                tuple(inputs),
                tuple(outputs),
                {"cond_subgraph_index": _CONDITION, "body_subgraph_index": _BODY},
                "WhileOptions",
            )
        )

    def tail(self) -> Model | None:
        """What runs after the loop."""
        draft = Draft(list(self.draft.tensors), self.draft.operators[1:], (), (), "tail")
        draft.inputs, draft.outputs = (self.last,), self.draft.outputs
        return Model((_subgraph(draft),)) if draft.operators else None

    def finished(self, collect: Collect, quantization: Quantization) -> int:
        """What was collected; a mean is the sum on another scale, rounded to int8."""
        if collect != "mean":
            return self.last
        total = self.draft.tensors[self.last]
        scale = float(np.float32(total.scale / self.steps))
        mean = self.draft.add_tensor(
            dataclasses.replace(total, quantization=Quantization((scale,), (0,)), name="mean")
        )
        options = {"new_shape": total.shape}
        self.draft.operators.append(
            Operator(OperatorCode("RESHAPE"), (self.last,), (mean,), options, "ReshapeOptions")
        )
        rounded = self.draft.add_tensor(
            dataclasses.replace(total, dtype=DType.INT8, quantization=quantization, name="")
        )
        self.draft.operators.append(
            Operator(OperatorCode("QUANTIZE"), (mean,), (rounded,), {}, "QuantizeOptions")
        )
        return rounded


def _append(draft: Draft, value: int, head: Model) -> tuple[int, ...]:
    """Run another model on a value; its outputs."""
    graph = head.subgraphs[0]
    if len(head.subgraphs) != 1 or len(graph.inputs) != 1:
        raise UsageError(
            "a head must have one subgraph and one input: found "
            f"{len(head.subgraphs)} and {len(graph.inputs)}"
        )
    given, wanted = draft.tensors[value], graph.tensors[graph.inputs[0]]
    if not same_values(given, wanted) or given.elements != wanted.elements:
        raise UsageError(
            f"a head must take what the loop gives, {given.dtype}{list(given.shape)} with scale "
            f"{given.scale:.6g} and zero point {given.zero_point}: it takes "
            f"{wanted.dtype}{list(wanted.shape)}, {wanted.scale:.6g} and {wanted.zero_point}"
        )
    numbers = {index: draft.add_tensor(item) for index, item in enumerate(graph.tensors)}
    numbers[-1] = -1
    if given.shape == wanted.shape:
        numbers[graph.inputs[0]] = value
    else:
        options = {"new_shape": wanted.shape}
        inner = (numbers[graph.inputs[0]],)
        draft.operators.append(
            Operator(OperatorCode("RESHAPE"), (value,), inner, options, "ReshapeOptions")
        )
    for op in graph.operators:
        draft.operators.append(
            dataclasses.replace(
                op,
                inputs=tuple(numbers[i] for i in op.inputs),
                outputs=tuple(numbers[i] for i in op.outputs),
                intermediates=tuple(numbers[i] for i in op.intermediates),
            )
        )
    return tuple(numbers[i] for i in graph.outputs)
