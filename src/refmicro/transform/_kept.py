"""The state of a model that is cut: taken out of it, so that whoever runs the parts can keep it.

Variables would be lost when the next part takes the arena. As inputs and outputs of the main
subgraph they are values like others, only that they outlive the run: each has a place of its own
in the buffer, which holds the old value until its readers are done and the new one afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.program import has_state, prepare_model
from refmicro.transform.step_model import State, StepModel, read_step, with_state
from refmicro.types import TflmBuild


@dataclass(frozen=True)
class Kept:
    """One state: the input that is read, the output that is written, the first value."""

    old: int
    new: int
    initial: bytes
    name: str


def without_state(model: Model, build: TflmBuild) -> tuple[Model, tuple[Kept, ...]]:
    """The model with its state as last inputs and outputs; as it is where it has none.

    Every new value has a tensor of its own that an operator writes and no result is.

    Raises:
        UnsupportedError: operators that remember, or state beyond the main subgraph.
    """
    if not has_state(prepare_model(model, build)):
        return model, ()
    try:
        step = _with_own_values(read_step(model, pairs=()))
    except UnsupportedError as error:
        raise UnsupportedError(
            f"a model that is split must have its state in variables of its own: {error.message}",
            hint="parts share one arena, and what operators remember in it would be lost",
        ) from error
    result = with_state(step, "io", source=model)
    graph = result.subgraphs[0]
    count = len(step.states)
    ends = (graph.inputs[len(graph.inputs) - count :], graph.outputs[len(graph.outputs) - count :])
    kept = tuple(
        Kept(old, new, state.initial, state.name or f"state{number}")
        for number, (old, new, state) in enumerate(zip(*ends, step.states, strict=True))
    )
    return result, kept


def _with_own_values(step: StepModel) -> StepModel:
    """The step with copies where a new value is something else besides, or an old one a result."""
    tensors, operators, states = list(step.tensors), list(step.operators), []

    def copied(value: int) -> int:
        item = tensors[value]
        tensors.append(dataclasses.replace(item, data=None, name=""))
        code, shape = OperatorCode("RESHAPE"), {"new_shape": item.shape}
        copy = len(tensors) - 1
        operators.append(Operator(code, (value,), (copy,), shape, "ReshapeOptions"))
        return copy

    olds = {state.old for state in step.states}
    outputs = tuple(copied(index) if index in olds else index for index in step.outputs)
    made = {index for op in operators for index in op.outputs}
    taken = {*outputs}
    for state in step.states:
        new = copied(state.new) if state.new in taken or state.new not in made else state.new
        taken.add(new)
        states.append(State(state.old, new, state.initial, state.name))
    return dataclasses.replace(
        step,
        tensors=tuple(tensors),
        operators=tuple(operators),
        outputs=outputs,
        states=tuple(states),
    )


def written_over(kept: Sequence[Kept], makers: dict[int, int], readers: dict[int, int]) -> set[int]:
    """New values that take the place of the old ones at once, because nobody reads these later.

    Args:
        kept: all states.
        makers: by tensor, the call that makes it.
        readers: by tensor, the last call that reads it.
    """
    return {item.new for item in kept if makers[item.new] >= readers.get(item.old, -1)}
