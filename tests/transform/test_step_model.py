"""Step models: read in any form of their state, written in any other, sequences stay equal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.proof import Machine, Open, prove, prove_equal
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.transform.shift_register import fuse_shift_registers
from refmicro.transform.step_model import (
    FORMS,
    Form,
    StepModel,
    initial_values,
    read_step,
    with_state,
)
from refmicro.transform.stream import stream
from refmicro.types import DType, Tensor
from refmicro.vectors import random_inputs
from tests.models import MAMBA, TFLM
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor

PLAIN = {"fused_activation_function": 0}
STATEFUL = ("g_elu_inplacevar_int8", "g_elu_resvar_int8", "m_elu_inplace2_off_int8")


def i8(*shape: int, scale: float = 0.05, zero_point: int = 3, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=scale, zero_point=zero_point, **more)


class Carried:
    """A model with its state as inputs and outputs, carried from one invocation to the next."""

    def __init__(self, step: StepModel, open_model: Open) -> None:
        self.machine: Machine = open_model(with_state(step, "io"))
        self.first = initial_values(step)
        self.reset()

    def reset(self) -> None:
        self.state = list(self.first)

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = self.machine.invoke([*inputs, *self.state])
        count = len(outputs) - len(self.state)
        self.state = outputs[count:]
        return outputs[:count]


@pytest.mark.oracle
@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_proven_equal_over_sequences(name: str, form: Form) -> None:
    source = read_model(MAMBA[name])
    step = read_step(source)
    assert step.state_bytes == 128 * 16 + 3 * 128
    if form == "io":
        result = with_state(step, form)
        proof = prove(source, (result,), lambda opened: Carried(step, opened), count=5)
    else:
        proof = prove_equal(source, with_state(step, form), count=5)
    assert proof.equal, proof


def test_a_state_that_goes_round_by_itself_is_found() -> None:
    source = read_model(MAMBA["s_elu_stream_int8"])
    step = read_step(source, mismatch="reinterpret")
    graph = source.subgraphs[0]
    assert [(state.old, state.new) for state in step.states] == [
        (graph.inputs[1], graph.outputs[1]),
        (graph.inputs[2], graph.outputs[2]),
    ]
    assert len(step.frames) == len(step.outputs) == 1


def test_a_state_on_two_scales_needs_leave() -> None:
    source = read_model(MAMBA["s_elu_stream_int8"])
    with pytest.raises(UnsupportedError, match="one quantization"):
        read_step(source)
    for mismatch, word in (("requantize", "requantized"), ("reinterpret", "reinterpreted")):
        step = read_step(source, mismatch=mismatch)
        assert len(step.changes) == 1
        assert step.changes[0].endswith(word)


def test_requantizing_is_what_a_caller_would_do() -> None:
    source = read_model(MAMBA["s_elu_stream_int8"])
    graph = source.subgraphs[0]
    step = read_step(source, mismatch="requantize")
    stepped, carried = Interpreter(source), Interpreter(with_state(step, "variable"))
    items = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    frames = random_inputs(items[:1], 12, 0)[0]
    conv = np.full(items[1].shape, items[1].zero_point, np.int8)
    state = np.full(items[2].shape, items[2].zero_point, np.int8)
    for frame in frames:
        for index, values in enumerate((frame, conv, state)):
            stepped.set_input(values, index)
        stepped.invoke()
        conv = stepped.get_output(1)
        real = (stepped.get_output(2).astype(np.float64) - items[5].zero_point) * items[5].scale
        state = np.rint(real / items[2].scale + items[2].zero_point).clip(-128, 127)
        state = state.astype(np.int8)
        carried.set_input(frame)
        carried.invoke()
        assert carried.get_output().tobytes() == stepped.get_output(0).tobytes()


@pytest.mark.oracle
def test_selective_scan_keeps_its_state_in_place() -> None:
    source = read_model(MAMBA["g_elu_resvar_int8"])
    fused = fuse_scan(source).model
    result = with_state(read_step(fused), "variable")
    graph = result.subgraphs[0]
    (scan,) = [item for item in graph.operators if item.name == "SELECTIVE_SCAN"]
    assert len(scan.outputs) == 1
    assert graph.tensors[scan.inputs[7]].is_variable
    ops = custom_ops_of(result)
    assert prove_equal(source, result, count=4, custom_ops=ops).equal
    back = with_state(read_step(result), "resource")
    assert prove_equal(source, back, count=4, custom_ops=ops).equal


@pytest.mark.oracle
def test_a_scan_that_is_told_its_step_goes_round_in_every_form() -> None:
    """The number of the step is a variable as well, which the scan only reads."""
    source = read_model(MAMBA["u3_elu_trained_int8"])
    step = stream(fuse_scan(source).model, mean="window").step
    kept = with_state(step, "variable")
    back = with_state(read_step(kept), "resource")
    ops = custom_ops_of(kept)
    assert prove_equal(kept, back, count=6, custom_ops=ops).equal


def test_no_reshape_is_needed_where_the_order_can_be_found() -> None:
    step = read_step(read_model(MAMBA["g_elu_resvar_int8"]))
    result = with_state(step, "variable")
    assert result.operator_count == read_model(MAMBA["g_elu_inplacevar_int8"]).operator_count


# States that depend on one another


def exchange(count: int, form: str) -> Model:
    """State i becomes what state i + 1 was, the last one what comes in."""
    x, y = i8(4), i8(4)
    olds = [i8(4, name=f"s{i}") for i in range(count)]
    sums = [i8(4) for _ in range(count)]
    operators = [op("ADD", [olds[0], olds[-1]], [sums[0]], PLAIN)]
    for i in range(1, count):
        operators.append(op("ADD", [sums[i - 1], olds[i]], [sums[i]], PLAIN))
    operators.append(op("ADD", [sums[-1], x], [y], PLAIN))
    last = i8(4)
    operators.append(op("RELU", [x], [last]))
    news = [*olds[1:], last] if form == "shift" else [*olds[1:], olds[0]]
    return model(subgraph([x, *olds], [y, *news], operators))


def run(source: Model, rows: np.ndarray) -> bytes:
    return Interpreter(source).invoke_sequence([rows])[0].tobytes()


def run_carried(step: StepModel, rows: np.ndarray) -> bytes:
    interpreter = Interpreter(with_state(step, "io"))
    state, found = initial_values(step), []
    for row in rows:
        for index, values in enumerate((row, *state)):
            interpreter.set_input(values, index)
        interpreter.invoke()
        found.append(interpreter.get_output(0))
        state = [interpreter.get_output(1 + i) for i in range(len(state))]
    return np.stack(found).tobytes()


@pytest.mark.parametrize("form", ["shift", "rotate"])
@pytest.mark.parametrize("count", [2, 3])
def test_states_that_change_places(form: str, count: int) -> None:
    source = exchange(count, form)
    pairs = [(1 + i, 1 + i) for i in range(count)]
    step = read_step(source, pairs=pairs)
    rows = np.random.default_rng(0).integers(-128, 128, (9, 4)).astype(np.int8)
    want = run_carried(step, rows)
    for written in ("variable", "resource"):
        assert run(with_state(step, written), rows) == want


@given(st.integers(0, 2**32))
def test_random_states_keep_their_sequences(seed: int) -> None:
    """Random operators on inputs and states; new states are any of their results."""
    rng = np.random.default_rng(seed)
    x = i8(4)
    olds = [i8(4) for _ in range(int(rng.integers(1, 4)))]
    values, operators = [x, *olds], []
    for _ in range(int(rng.integers(2, 8))):
        a, b = (values[int(i)] for i in rng.integers(0, len(values), 2))
        y = i8(4)
        name = ["ADD", "MUL", "RELU"][int(rng.integers(3))]
        inputs = [a] if name == "RELU" else [a, b]
        operators.append(op(name, inputs, [y], None if name == "RELU" else PLAIN))
        values.append(y)
    made = values[len(olds) + 1 :]
    news = [made[int(i)] for i in rng.integers(0, len(made), len(olds))]
    source = model(subgraph([x, *olds], [made[-1], *news], operators))
    pairs = [(1 + i, 1 + i) for i in range(len(olds))]
    step = read_step(source, pairs=pairs)
    rows = rng.integers(-128, 128, (7, 4)).astype(np.int8)
    want = run_carried(step, rows)
    for first, second in itertools.product(("variable", "resource"), repeat=2):
        result = with_state(step, first)
        assert run(result, rows) == want
        assert run(with_state(read_step(result, pairs=()), second), rows) == want


# What cannot be read


def test_pairs_must_be_told_where_shapes_leave_a_choice() -> None:
    source = exchange(2, "shift")
    with pytest.raises(UsageError, match="fits outputs"):
        read_step(source)
    with pytest.raises(UsageError, match="below"):
        read_step(source, pairs=[(9, 0)])


def test_loops_and_hidden_states_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="1 subgraph"):
        read_step(read_model(MAMBA["g_elu_while_int8"]))
    shifted = fuse_shift_registers(read_model(MAMBA["g_elu_inplacevar_int8"])).model
    with pytest.raises(UnsupportedError, match="CIRCULAR_BUFFER"):
        read_step(shifted)
    with pytest.raises(UnsupportedError, match="out of Signal"):
        read_step(read_model(TFLM["audio_preprocessor_int8"]))
