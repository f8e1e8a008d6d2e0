"""A step model apart from the form of its state, and the forms that TFLM can run it in.

A step model computes one frame and keeps something for the next one. Models hold that in three
ways: as inputs and outputs that the caller carries over, in resource variables, or in variable
tensors that are written in place. `read_step` takes any of them to one value, `with_state` gives
any of them back, and `while_loop` takes the value as the body of a loop.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from refmicro.errors import UnsupportedError, UsageError
from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.program import prepare_model
from refmicro.transform._draft import STATEFUL, Draft, same_values
from refmicro.transform._values import Values
from refmicro.types import NO_QUANTIZATION, DType, Tensor, TflmBuild

Form = Literal["io", "resource", "variable"]
"""Where a step model keeps its state."""

FORMS: tuple[Form, ...] = ("io", "resource", "variable")

Mismatch = Literal["refuse", "requantize", "reinterpret"]
"""What to do with a state that is read on another scale than it is written on."""


DONE = {"requantize": "requantized", "reinterpret": "reinterpreted"}
"""What was done about a mismatch."""


@dataclass(frozen=True)
class State:
    """One thing that is kept: the tensor that is read, the one that is written, the first value."""

    old: int
    new: int
    initial: bytes
    name: str = ""


@dataclass(frozen=True)
class StepModel:
    """A subgraph without variables: what it reads as state are values like its inputs.

    Attributes:
        tensors, operators: of the subgraph, each tensor written once.
        frames: inputs that come with each step.
        outputs: what each step gives.
        states: what is kept.
        changes: where numbers changed on the way here, in words.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    frames: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[State, ...]
    changes: tuple[str, ...] = ()

    @property
    def state_bytes(self) -> int:
        """Bytes that are kept from one step to the next."""
        return sum(self.tensors[state.old].nbytes for state in self.states)


# Reading


def read_step(
    model: Model,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    mismatch: Mismatch = "refuse",
) -> StepModel:
    """The step behind a model of one subgraph, whichever form its state has.

    Args:
        model: the step model.
        pairs: input and output numbers of states that the caller carries over; where None they
            are found by their shapes, if the model keeps no state itself.
        mismatch: what to do where such an input has another quantization than its output:
            `requantize` adds a QUANTIZE, as a caller would do, `reinterpret` reads the new scale.

    Raises:
        UnsupportedError: more than one subgraph, operators with a state of their own, or a
            mismatch that may not be mended.
        UsageError: pairs that do not exist or do not fit.
    """
    if len(model.subgraphs) != 1:
        raise UnsupportedError(
            f"a step model must have 1 subgraph: found {len(model.subgraphs)}",
            hint="loops and calls cannot be taken apart here",
        )
    graph = model.subgraphs[0]
    remember = [
        node.name
        for node in prepare_model(model, TflmBuild.firmware()).nodes[0]
        if node.spec.state is not None
    ]
    if remember:
        raise UnsupportedError(
            "a step model must keep its state in tensors: what operators remember cannot be taken "
            f"out of {', '.join(dict.fromkeys(remember))}",
            hint="CIRCULAR_BUFFER comes from --fuse: take the model as it was before",
        )
    values = Values.of(graph)
    draft = values.graph
    states = _variable_states(values) + _resource_states(draft)
    if pairs is None:
        pairs = () if states else _pairs(draft)
    step = StepModel(
        tuple(draft.tensors),
        tuple(op for op in draft.operators if op is not None),
        draft.inputs,
        draft.outputs,
        tuple(states),
    )
    return _with_pairs(step, pairs, mismatch)


def state_pairs(model: Model) -> tuple[tuple[int, int], ...]:
    """Input and output numbers of states that the caller of a step model carries over.

    They are found by their shapes; there are none where the model keeps state itself.

    Raises:
        UsageError: where shapes leave a choice.
    """
    values = Values.of(model.subgraphs[0])
    handles = any(op is not None and op.name == "VAR_HANDLE" for op in values.graph.operators)
    keeps = handles or any(tensor.is_variable for tensor in model.subgraphs[0].tensors)
    return () if keeps else tuple(_pairs(values.graph))


def _variable_states(values: Values) -> list[State]:
    """Variable tensors; one that is never written stays what it was reset to."""
    draft = values.graph
    found = []
    for index, item in enumerate(draft.tensors):
        if not item.is_variable:
            continue
        for number, op in enumerate(draft.operators):
            if _may_write_input(op, index):
                draft.put(number, _with_new_state(draft, op, index, values))
        plain = dataclasses.replace(item, is_variable=False)
        new = values.final.get(index)
        initial = reset_bytes(item)
        if new is None:
            draft.tensors[index] = dataclasses.replace(plain, data=initial)
            continue
        draft.tensors[index] = plain
        found.append(State(index, new, initial, item.name))
    return found


def _may_write_input(op: Operator, index: int) -> bool:
    """Whether an operator may write a variable that it reads, without saying so by its outputs."""
    if op.name == "SELECTIVE_SCAN":
        # With a second output the state is not written in place; other inputs are only read.
        return len(op.outputs) == 1 and op.inputs[7:8] == (index,)
    return index in op.inputs and (op.code.builtin == "CUSTOM" or op.name in STATEFUL)


def _with_new_state(draft: Draft, op: Operator, index: int, values: Values) -> Operator:
    """SELECTIVE_SCAN with its new state as an output."""
    if op.name != "SELECTIVE_SCAN" or len(draft.readers[index]) != 1:
        raise UnsupportedError(
            f"an operator must say what it writes: found a variable as input of {op.name}",
            hint="models with SVDF or LSTM keep their form",
        )
    new = draft.add_tensor(dataclasses.replace(draft.tensors[index], is_variable=False))
    values.final[index] = new
    return dataclasses.replace(op, outputs=(*op.outputs, new))


def reset_bytes(item: Tensor) -> bytes:
    """What TFLM resets a variable tensor to.

    Source: `ResetTensorData` in `tensorflow/lite/micro/micro_interpreter_graph.cc`.
    """
    value = item.zero_point if item.dtype is DType.INT8 else 0
    return np.full(item.elements, value, item.dtype.numpy).tobytes()


def _resource_states(draft: Draft) -> list[State]:
    """Resource variables: READ_VARIABLE and ASSIGN_VARIABLE go, what they carried stays."""
    names: dict[int, str] = {}
    read: dict[str, int] = {}
    written: dict[str, int] = {}
    for number, op in enumerate(draft.operators):
        if op.name == "VAR_HANDLE":
            names[op.outputs[0]] = f"{op.options.get('container') or ''}/" + str(
                op.options.get("shared_name") or ""
            )
        elif op.name == "READ_VARIABLE":
            name = names[op.inputs[0]]
            if name in written or name in read:
                raise UnsupportedError(
                    "a resource variable must be read once, before it is written: "
                    f"'{name}' is read again"
                )
            read[name] = op.outputs[0]
        elif op.name == "ASSIGN_VARIABLE":
            written[names[op.inputs[0]]] = op.inputs[1]
        else:
            continue
        draft.put(number, None)
    found = []
    for name, old in read.items():
        item = draft.tensors[old]
        new = written.get(name, old)
        point = draft.tensors[new].zero_point & 0xFF
        found.append(State(old, new, bytes([point]) * item.nbytes, name.lstrip("/")))
    return found


def _pairs(draft: Draft) -> list[tuple[int, int]]:
    """Inputs and outputs of one shape and type, where that leaves no choice."""
    found: list[tuple[int, int]] = []
    for number, index in enumerate(draft.inputs):
        item = draft.tensors[index]
        fits = [
            place
            for place, output in enumerate(draft.outputs)
            if draft.tensors[output].shape == item.shape
            and draft.tensors[output].dtype is item.dtype
        ]
        if len(fits) > 1:
            raise UsageError(
                f"the outputs that carry the state must be told: input {number} fits outputs "
                f"{', '.join(map(str, fits))}",
                hint="give the pairs of input and output",
            )
        found += [(number, fits[0])] if fits else []
    outputs = [output for _, output in found]
    if len(set(outputs)) != len(outputs):
        raise UsageError(
            "the outputs that carry the state must be told: several inputs fit one output",
            hint="give the pairs of input and output",
        )
    return found


def _with_pairs(step: StepModel, pairs: Sequence[tuple[int, int]], mismatch: Mismatch) -> StepModel:
    """Inputs that are states, with the outputs that they come back as."""
    tensors, operators = list(step.tensors), list(step.operators)
    states, changes = list(step.states), list(step.changes)
    for given, result in pairs:
        if given >= len(step.frames) or result >= len(step.outputs):
            raise UsageError(
                f"states must be inputs below {len(step.frames)} and outputs below "
                f"{len(step.outputs)}: got {given} and {result}"
            )
        old, new = step.frames[given], step.outputs[result]
        a, b = tensors[old], tensors[new]
        if a.nbytes != b.nbytes or a.dtype is not b.dtype:
            raise UsageError(
                f"a state must come back as it went in: input {given} is {a.dtype}{list(a.shape)}, "
                f"output {result} {b.dtype}{list(b.shape)}"
            )
        if not same_values(a, b):
            text = (
                f"state input {given} has scale {a.scale:.5g} and zero point {a.zero_point}, "
                f"output {result} {b.scale:.5g} and {b.zero_point}"
            )
            if mismatch == "refuse":
                raise UnsupportedError(
                    f"a state must have one quantization: {text}",
                    hint="--state-scale requantize does what a caller must do; reinterpret changes "
                    "numbers",
                )
            changes.append(f"{text}: {DONE[mismatch]}")
            if mismatch == "requantize":
                tensors.append(dataclasses.replace(a, name=""))
                operators.append(Operator(OperatorCode("QUANTIZE"), (new,), (len(tensors) - 1,)))
                new = len(tensors) - 1
            else:
                tensors[old] = dataclasses.replace(a, quantization=b.quantization)
        states.append(State(old, new, reset_bytes(tensors[old]), tensors[old].name))
    taken = {given for given, _ in pairs}, {result for _, result in pairs}
    return StepModel(
        tuple(tensors),
        tuple(operators),
        tuple(i for number, i in enumerate(step.frames) if number not in taken[0]),
        tuple(i for number, i in enumerate(step.outputs) if number not in taken[1]),
        tuple(states),
        tuple(changes),
    )


# Writing


def with_state(step: StepModel, form: Form, *, source: Model | None = None) -> Model:
    """The step as a model that keeps its state in one of the forms.

    As `io` the state's inputs and outputs follow the frames and the results, and the caller begins
    with the states' initial values.

    Args:
        step: the step.
        form: where the state is to be.
        source: a model whose description and metadata are taken over.
    """
    draft = Draft(list(step.tensors), list(step.operators), step.frames, step.outputs, "step")
    draft.index()
    if form == "io":
        draft.inputs += tuple(state.old for state in step.states)
        draft.outputs += tuple(state.new for state in step.states)
    elif form == "resource":
        _add_resources(draft, step)
    else:
        _write_variables(draft, step)
    draft.tidy()
    graph, _ = draft.subgraph()
    description = "" if source is None else source.description
    return Model((graph,), description=description)


def _add_resources(draft: Draft, step: StepModel) -> None:
    before, after = [], []
    for number, state in enumerate(step.states):
        item = draft.tensors[state.old]
        if state.initial != bytes([item.zero_point & 0xFF]) * item.nbytes:
            raise UnsupportedError(
                "a resource variable begins with its zero point in every byte: "
                f"state {number} does not",
                hint="keep it as input and output",
            )
        handle = draft.add_tensor(Tensor(f"state{number}", DType.RESOURCE, (1,), NO_QUANTIZATION))
        options = {"container": "", "shared_name": state.name or f"state{number}"}
        before += [
            Operator(OperatorCode("VAR_HANDLE"), (), (handle,), options, "VarHandleOptions"),
            Operator(
                OperatorCode("READ_VARIABLE"), (handle,), (state.old,), {}, "ReadVariableOptions"
            ),
        ]
        after.append(
            Operator(
                OperatorCode("ASSIGN_VARIABLE"),
                (handle, state.new),
                (),
                {},
                "AssignVariableOptions",
            )
        )
    draft.operators[:] = [*before, *draft.operators, *after]
    draft.index()


IN_PLACE = frozenset({"ADD", "ELU", "LOGISTIC", "MUL", "RELU", "SUB", "TANH"})
"""Operators that may write over an input of the same size, element by element."""


def _write_variables(draft: Draft, step: StepModel) -> None:
    """Make the old states variable tensors and let the new ones be written into them.

    The operator that computes a new state writes the variable itself where all that reads the old
    one can run before it. Else a RESHAPE copies it, or two where states change places.
    """
    for number, state in enumerate(step.states):
        item = draft.tensors[state.old]
        if state.initial != reset_bytes(item):
            raise UnsupportedError(
                f"a variable tensor begins with its zero point: state {number} does not",
                hint="keep it as input and output",
            )
    copies = [0 if _may_write(draft, step, state) else 1 for state in step.states]
    while (plan := _ordered(draft, step, copies)) is None:
        last = max(range(len(copies)), key=lambda i: (copies[i] < 2, i))
        copies[last] += 1
    operators, writers = plan
    draft.operators[:] = operators
    draft.index()
    for state, new in zip(step.states, writers, strict=True):
        item = draft.tensors[state.old]
        draft.tensors[state.old] = dataclasses.replace(item, is_variable=True)
        number = draft.producer(new)
        op = draft.operators[number]
        if op.name == "SELECTIVE_SCAN":
            draft.put(number, dataclasses.replace(op, outputs=op.outputs[:1]))
        else:
            draft.put(number, dataclasses.replace(op, outputs=(state.old,)))
        draft.replace_inputs(new, state.old)


def _may_write(draft: Draft, step: StepModel, state: State) -> bool:
    """Whether the operator that computes a new state can write the variable, order apart."""
    old, new = state.old, state.new
    number = draft.producer(new)
    shared = [other for other in step.states if new in (other.old, other.new)]
    if number is None or new in draft.outputs or len(shared) != 1:
        return False
    op = draft.operators[number]
    a, b = draft.tensors[old], draft.tensors[new]
    if not same_values(a, b) or a.shape != b.shape:
        return False
    if op.name == "SELECTIVE_SCAN":
        # In place it has one output, which nobody else may need as a value of its own.
        return op.outputs[1:] == (new,) and op.inputs[7] == old and not draft.readers.get(new)
    return len(op.outputs) == 1 and (old not in op.inputs or op.name in IN_PLACE)


def _ordered(
    draft: Draft, step: StepModel, copies: list[int]
) -> tuple[list[Operator], list[int]] | None:
    """Operators in an order in which no variable is written before its old value was read, and
    the tensor that each state is written as; None where there is no such order."""
    operators = list(draft.operators)
    writers = []
    for state, count in zip(step.states, copies, strict=True):
        new = state.new
        for _ in range(count):
            item = draft.tensors[state.old]
            copy = draft.add_tensor(dataclasses.replace(item, name=""))
            options = {"new_shape": item.shape}
            operators.append(
                Operator(OperatorCode("RESHAPE"), (new,), (copy,), options, "ReshapeOptions")
            )
            new = copy
        writers.append(new)
    producer = {index: number for number, op in enumerate(operators) for index in op.outputs}
    before: list[set[int]] = [{producer[i] for i in op.inputs if i in producer} for op in operators]
    for state, new in zip(step.states, writers, strict=True):
        writer = producer[new]
        readers = {number for number, op in enumerate(operators) if state.old in op.inputs}
        before[writer] |= readers - {writer}
    order = topological(before)
    return None if order is None else ([operators[number] for number in order], writers)


def topological(before: list[set[int]]) -> list[int] | None:
    """An order with each number after those that it needs, as close to 0, 1, 2 as can be."""
    missing = [len(needs) for needs in before]
    after: list[list[int]] = [[] for _ in before]
    for number, needs in enumerate(before):
        for need in needs:
            after[need].append(number)
    ready = [number for number, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for number in after[order[-1]]:
            missing[number] -= 1
            if missing[number] == 0:
                heapq.heappush(ready, number)
    return order if len(order) == len(before) else None


def initial_values(step: StepModel) -> list[np.ndarray]:
    """The first values of all states, as arrays."""
    return [
        np.frombuffer(state.initial, step.tensors[state.old].dtype.numpy).reshape(
            step.tensors[state.old].shape
        )
        for state in step.states
    ]
