"""Who calls a step model: carries its state from one frame to the next where the model does not.

A step model with its state as inputs and outputs needs a caller. `Caller` is one, and with it such
a model looks like one that keeps its state itself: frames in, results out, and `reset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.transform._draft import same_values
from refmicro.transform.proof import Machine, Open
from refmicro.transform.step_model import Form, StepModel, initial_values, reset_bytes


@dataclass(frozen=True)
class Wire:
    """One state: the numbers of its input and output, the first value, and what stands between.

    Attributes:
        input, output: numbers among all inputs and outputs of the model.
        first: what the input is at the first frame.
        between: runs on the output before it becomes the input; None where the bytes stay.
    """

    input: int
    output: int
    first: np.ndarray
    between: Machine | None = None


class Caller:
    """A machine whose state goes round outside, as one that keeps it."""

    def __init__(self, machine: Machine, wires: Sequence[Wire]) -> None:
        self._machine = machine
        self._wires = tuple(wires)
        self._taken = {wire.output for wire in wires}
        self.reset()

    def reset(self) -> None:
        """See `proof.Machine`."""
        self._machine.reset()
        self._state = {wire.input: wire.first for wire in self._wires}

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `proof.Machine`: the frames in, the results out."""
        frames = iter(inputs)
        count = len(inputs) + len(self._wires)
        given = [self._state[i] if i in self._state else next(frames) for i in range(count)]
        outputs = self._machine.invoke(given)
        for wire in self._wires:
            value = outputs[wire.output]
            if wire.between is not None:
                (value,) = wire.between.invoke([value])
            self._state[wire.input] = value
        return [value for i, value in enumerate(outputs) if i not in self._taken]


def call_step(step: StepModel, form: Form, model: Model, open_model: Open) -> Machine:
    """A machine that runs a step model made by `with_state`, whichever its form."""
    machine = open_model(model)
    if form != "io":
        return machine
    return Caller(
        machine,
        [
            Wire(len(step.frames) + number, len(step.outputs) + number, first)
            for number, first in enumerate(initial_values(step))
        ],
    )


def call_source(
    model: Model, step: StepModel, pairs: Sequence[tuple[int, int]], open_model: Open
) -> Machine:
    """A machine that runs the model that a step was read from, as its caller must.

    A state that comes back on another scale than it goes in is rescaled on the way.

    Args:
        model: the source.
        step: what `read_step` made of it.
        pairs: its inputs and outputs that are state; none where it keeps its state itself.
        open_model: gives machines.
    """
    machine = open_model(model)
    graph = model.subgraphs[0]
    wires = []
    for given, result in pairs:
        old, new = graph.tensors[graph.inputs[given]], graph.tensors[graph.outputs[result]]
        first = np.frombuffer(reset_bytes(old), old.dtype.numpy).reshape(old.shape)
        between = None
        if not same_values(old, new):
            code = Operator(OperatorCode("QUANTIZE"), (0,), (1,), {}, "QuantizeOptions")
            between = open_model(Model((Subgraph((new, old), (0,), (1,), (code,)),)))
        wires.append(Wire(given, result, first, between))
    return Caller(machine, wires) if wires else machine


def parse_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Pairs of input and output numbers from `1:1,2:2`.

    Raises:
        UsageError: for any other text.
    """
    pairs = []
    for item in text.split(","):
        given, colon, result = item.strip().partition(":")
        if not colon or not given.isdecimal() or not result.isdecimal():
            raise UsageError(
                f"states must be pairs of input and output numbers: found '{text}'",
                hint="such as 1:1,2:2, where input 1 is what output 1 was a step before",
            )
        pairs.append((int(given), int(result)))
    for side, name in ((0, "input"), (1, "output")):
        numbers = [pair[side] for pair in pairs]
        if len(set(numbers)) != len(numbers):
            raise UsageError(f"each {name} can carry one state: found '{text}'")
    return tuple(pairs)
