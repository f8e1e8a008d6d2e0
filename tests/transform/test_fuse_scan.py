"""SELECTIVE_SCAN for stock operators: equal bytes, less memory, and how far 16 bits go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import Arena, model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model, read_model
from refmicro.model.writer import write_model
from refmicro.ops.selective_scan import (
    COLUMNS,
    DRIVEN,
    MINUS_A,
    MINUS_DELTA,
    SUM,
    UNIT,
    decode_options,
)
from refmicro.program import prepare_model
from refmicro.transform._scan_pattern import find_scans
from refmicro.transform._values import Values
from refmicro.transform._wide_scan import _Wide
from refmicro.transform.fuse import fuse
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.plan import plan_offsets
from refmicro.transform.proof import Proof, prove_equal
from refmicro.transform.selective_scan_cc import custom_ops_of, registration_source
from refmicro.transform.shift_register import fuse_shift_registers
from refmicro.types import DType, TflmBuild
from refmicro.vectors import random_inputs
from tests.models import MAMBA
from tests.ops.graphs import op
from tests.transform.scans import PLAIN, ScanMaker

SCANS = {
    "g_elu_inplacevar_int8": 1,
    "g_elu_resvar_int8": 1,
    "g_elu_while_int8": 1,
    "m_elu_inplace2_off_int8": 1,
    "s_elu_scan_int8": 1,
    "s_elu_stream_int8": 1,
    "s_sig_stream_int8": 1,
    "u2_split_int8": 49,
    "u2_split_int8_reord": 49,
    "u3_elu_trained_int8": 49,
}
"""Steps of the scan in each real model."""


def arena(source: Model) -> Arena:
    return model_arena(prepare_model(source, TflmBuild.firmware()))


def proof(source: Model, result: Model, count: int = 4) -> Proof:
    return prove_equal(source, result, count=count, custom_ops=custom_ops_of(result))


def names(source: Model) -> list[str]:
    return [item.name for graph in source.subgraphs for item in graph.operators]


def assert_same(source: Model, result: Model, rows: int = 12) -> None:
    """Both give the same bytes in refmicro, as one stream."""
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, 1)
    files = (parse_model(write_model(m)) for m in (source, result))
    runs = [Interpreter(m).invoke_sequence(inputs) for m in files]
    for want, got in zip(*runs, strict=True):
        assert want.tobytes() == got.tobytes()


# Real models


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(SCANS))
def test_real_models_are_proven_equal_in_tflm(name: str) -> None:
    source = read_model(MAMBA[name])
    result = fuse_scan(source)
    assert result.scans == ((SCANS[name], 128, 16),)
    assert result.changes == ()
    tidy = fuse(result.model)
    assert "SELECTIVE_SCAN" in names(tidy.model)
    assert proof(source, tidy.model, 2).equal
    assert arena(tidy.model).required_bytes < 0.8 * arena(source).required_bytes


def test_models_without_a_scan_come_back_as_they_are() -> None:
    source = read_model(MAMBA["s_elu_front_int8"])
    result = fuse_scan(source)
    assert result.model == source
    assert result.scans == ()


def test_an_unrolled_scan_needs_no_state_in_the_arena() -> None:
    result = fuse(fuse_scan(read_model(MAMBA["u2_split_int8"])).model)
    assert result.operators_after == 17
    place = names(result.model).index("SELECTIVE_SCAN")
    assert [item.bytes for item in arena(result.model).scratch[0, place]] == [16]


def test_no_parameter_lies_in_the_arena() -> None:
    result = fuse(fuse_scan(read_model(MAMBA["m_elu_inplace2_off_int8"])).model).model
    program = prepare_model(result, TflmBuild.firmware())
    (node,) = [n for n in program.nodes[0] if n.name == "SELECTIVE_SCAN"]
    assert node.persistent_bytes == node.scratch_bytes == node.init_bytes == ()
    # Nothing of D * N values is left but the state itself.
    sizes = [t.nbytes for t in result.subgraphs[0].tensors if not t.is_constant]
    assert sorted(sizes)[-2:] == [512, 2048]


@pytest.mark.oracle
def test_a_streaming_step_in_six_kilobytes() -> None:
    """The whole step of a Mamba layer, its state included, on a Cortex-M in stock TFLM."""
    source = read_model(MAMBA["m_elu_inplace2_off_int8"])
    assert arena(source).required_bytes == 11_216
    fused = fuse_scan(fuse_shift_registers(fuse(source).model).model).model
    build = TflmBuild.firmware()
    result = plan_offsets(fused, build=build, time_limit_s=5).model
    assert arena(result).required_bytes <= 5_904
    verdict = proof(source, result)
    assert verdict.equal
    assert verdict.plan_obeyed


# All forms


FORMS = [
    {"state": "variable"},
    {"state": "input"},
    {"state": "none", "steps": 5},
    {"state": "input", "steps": 3},
    {"state": "variable", "steps": 3},
    {"skip": "plain"},
    {"skip": "none"},
    {"gate": False},
    {"skip": "none", "gate": False, "state": "input"},
    {"decay": ("LOGISTIC",)},
    {"decay": ("TANH", "ADD")},
    {"decay": ()},
    {"decay": ("POWERS",)},
    {"decay": ("POWERS",), "steps": 3, "state": "none"},
    {"channels": 4, "size": 4},
    {"argument": "SUB", "decay": ("LOGISTIC",)},
    {"argument": "SUB", "decay": ("LOGISTIC",), "steps": 3, "state": "none"},
    {"argument": "ADD", "decay": ("TANH", "ADD"), "state": "input", "skip": "plain"},
]


@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_form_is_proven_equal(form: dict, seed: int) -> None:
    source = ScanMaker(seed, **form).model()
    result = fuse_scan(source)
    assert result.scans == ((form.get("steps", 1), form.get("channels", 6), 4),)
    assert "FULLY_CONNECTED" not in names(result.model)
    assert proof(source, result.model).equal


@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 4),
    state=st.sampled_from(["variable", "input", "none"]),
    skip=st.sampled_from(["scaled", "plain", "none"]),
    gate=st.booleans(),
    decay=st.sampled_from([("ELU", "ADD"), ("TANH", "ADD"), ("POWERS",)]),
    argument=st.sampled_from(["MUL", "ADD", "SUB"]),
)
def test_random_scans_keep_their_bytes(
    seed: int,
    steps: int,
    state: str,
    skip: str,
    gate: bool,
    decay: tuple[str, ...],
    argument: str,
) -> None:
    if state == "none" and steps == 1:
        state = "variable"
    form = {"steps": steps, "state": state, "skip": skip, "gate": gate, "decay": decay}
    if decay != ("POWERS",):
        form["argument"] = argument
    source = ScanMaker(seed, **form).model()
    result = fuse_scan(source)
    assert len(result.scans) == 1
    assert_same(source, result.model)


def test_powers_of_a_sigmoid_become_tables_of_delta() -> None:
    """sigmoid(-z)^n for each n: four columns of 256 results, and no A."""
    result = fuse_scan(ScanMaker(2, decay=("POWERS",)).model()).model
    assert "CONCATENATION" not in names(result)
    (scan,) = [o for o in result.subgraphs[0].operators if o.name == "SELECTIVE_SCAN"]
    options = decode_options(scan.custom_options)
    assert options.flags & COLUMNS
    assert not options.flags & DRIVEN
    assert scan.inputs[2] == -1
    assert len(options.sets[0].decay) == 4 * 256


@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_a_sum_of_delta_and_a_has_no_table_of_its_own(name: str) -> None:
    """sigmoid(delta - A): the sum is the operator's, sigmoid(delta) too, and nothing is DRIVEN."""
    result = fuse_scan(ScanMaker(2, argument=name, decay=("LOGISTIC",)).model()).model
    (scan,) = [o for o in result.subgraphs[0].operators if o.name == "SELECTIVE_SCAN"]
    options = decode_options(scan.custom_options)
    assert options.flags & SUM
    assert bool(options.flags & (MINUS_A | MINUS_DELTA)) == (name == "SUB")
    assert not options.flags & DRIVEN
    assert len(options.sets[0].decay) == 256
    assert "LOGISTIC" not in names(result)[: names(result).index("SELECTIVE_SCAN")]


@pytest.mark.oracle
def test_the_keyword_spotter_in_six_kilobytes() -> None:
    """The whole model, from a frame to the sum of logits, on a Cortex-M in stock TFLM."""
    source = read_model(MAMBA["kws_mamba_int8"])
    fused = fuse_scan(source)
    assert fused.scans == ((1, 128, 16),)
    result = plan_offsets(fused.model, build=TflmBuild.firmware(), time_limit_s=5).model
    assert len(names(result)) == 12
    assert arena(result).required_bytes <= 5_328
    verdict = proof(source, result)
    assert verdict.equal
    assert verdict.plan_obeyed


def test_a_factor_of_one_is_not_multiplied() -> None:
    result = fuse_scan(ScanMaker(2, skip="plain").model()).model
    scan = next(o for o in result.subgraphs[0].operators if o.name == "SELECTIVE_SCAN")
    assert decode_options(scan.custom_options).flags == UNIT
    assert scan.inputs[5] == -1


# What others need of a scan stays


def also_out(name: str) -> Callable[[ScanMaker], None]:
    def finish(maker: ScanMaker) -> None:
        maker.outputs.append(maker.made[name])

    return finish


@pytest.mark.parametrize("name", ["decay", "u", "delta", "z"])
def test_values_that_others_read_are_still_computed(name: str) -> None:
    source = ScanMaker(3).model(also_out(name))
    result = fuse_scan(source)
    assert len(result.scans) == 1
    assert_same(source, result.model)


def test_a_new_state_that_others_read_is_an_output() -> None:
    source = ScanMaker(4, state="none", steps=3).model(also_out("h"))
    result = fuse_scan(source)
    assert len(result.scans) == 1
    assert_same(source, result.model)


def test_a_state_that_is_read_after_it_was_written_is_left_alone() -> None:
    """The operator would have written it before the last of its stock operators had run."""

    def finish(maker: ScanMaker) -> None:
        early = maker.i8(maker.channels, maker.size)
        number = next(i for i, item in enumerate(maker.operators) if item[0] == "FULLY_CONNECTED")
        maker.operators.insert(number, op("RELU", [maker.made["h"]], [early]))
        maker.outputs.append(early)

    source = ScanMaker(5, state="variable").model(finish)
    result = fuse_scan(source)
    assert result.scans == ()
    assert_same(source, result.model)


def test_a_gate_of_the_result_itself_is_no_gate() -> None:
    def finish(maker: ScanMaker) -> None:
        y = maker.outputs.pop()
        sigma = maker.add("LOGISTIC", [y], maker.unit(*y.shape))
        maker.outputs.append(maker.add("MUL", [y, sigma], maker.i8(*y.shape), PLAIN))

    source = ScanMaker(6, gate=False).model(finish)
    result = fuse_scan(source)
    assert names(result.model)[-2:] == ["LOGISTIC", "MUL"]
    assert_same(source, result.model)


# 16 bits


class Real:
    """One scan in real numbers, on the values that its int8 inputs stand for."""

    def __init__(self, source: Model) -> None:
        self.values = Values.of(source.subgraphs[0])
        (self.match,) = find_scans(self.values)
        self.wide = _Wide(self.values, self.match)

    def outputs(self, seen: dict[int, np.ndarray]) -> np.ndarray:
        """(T, D) results from arrays of T steps by value."""
        match, evaluate = self.match, self.wide.evaluate

        def real(value: int, width: int) -> np.ndarray:
            item = self.values.tensor(value)
            raw = item.array() if item.is_constant else seen[value]
            return (raw.astype(np.float64).reshape(-1, width) - item.zero_point) * item.scale

        channels, size = match.channels, match.size
        u = real(match.u, channels)
        s = evaluate(match.delta, real(match.delta.source, channels))
        a, b, c = real(match.a, size), real(match.b, size), real(match.c, size)
        h = np.zeros((channels, size))
        y = np.empty(u.shape)
        for t in range(len(u)):
            h = evaluate(match.steps[-1].decay, s[t][:, None] * a) * h
            h += (s[t] * u[t])[:, None] * b[t]
            y[t] = h @ c[t] + real(match.skip, channels)[0] * u[t]
        return y * evaluate(match.gate, real(match.gate.source, channels))


@pytest.mark.parametrize("name", ["m_elu_inplace2_off_int8", "u3_elu_trained_int8"])
def test_sixteen_bits_are_right_to_half_a_step_of_the_output(name: str) -> None:
    source = read_model(MAMBA[name])
    graph = source.subgraphs[0]
    x = graph.tensors[graph.inputs[0]]
    frames = 49 if SCANS[name] == 1 else 1
    rng = np.random.default_rng(0)
    raw = np.rint(rng.normal(x.zero_point, 30, (frames, *x.shape))).clip(-128, 127).astype(np.int8)
    real = Real(source)
    worst = []
    for wide in (False, True):
        result = fuse_scan(source, wide_state=wide).model
        seen = trace(result, raw)
        scan = next(o for o in result.subgraphs[0].operators if o.name == "SELECTIVE_SCAN")
        origin = trace(source, raw)
        y = result.subgraphs[0].tensors[scan.outputs[0]]
        got = (seen[scan.outputs[0]].astype(np.float64) - y.zero_point) * y.scale
        want = real.outputs(origin)
        worst.append(np.abs(got.reshape(want.shape) - want).max() / y.scale)
    assert worst[1] < 0.51
    assert worst[0] > 4 * worst[1]


def trace(source: Model, rows: np.ndarray) -> dict[int, np.ndarray]:
    """Everything that a model computes, all steps stacked, by tensor."""
    interpreter = Interpreter(source)
    found: dict[int, list[np.ndarray]] = {}
    for row in rows:
        interpreter.set_input(row)
        interpreter.invoke(
            lambda _, __, written: [
                found.setdefault(i, []).append(a[0].copy()) for i, a in written.items()
            ]
        )
    return {index: np.stack(items) for index, items in found.items()}


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["m_elu_inplace2_off_int8", "u3_elu_trained_int8"])
def test_sixteen_bits_are_the_same_in_tflm_and_say_that_they_change_numbers(name: str) -> None:
    source = read_model(MAMBA[name])
    result = fuse_scan(source, wide_state=True)
    assert result.changes == ("a scan of 128 x 16 values keeps its state in 16 bits",)
    verdict = proof(source, result.model)
    assert verdict.sound
    assert not verdict.equal
    assert verdict.largest_difference > 0


@pytest.mark.oracle
@pytest.mark.parametrize(
    "form",
    [form for form in FORMS if form.get("state", "variable") != "input"],
    ids=str,
)
def test_every_form_with_sixteen_bits_is_the_same_in_tflm(form: dict) -> None:
    source = ScanMaker(7, **form).model()
    result = fuse_scan(source, wide_state=True)
    assert proof(source, result.model).sound


def test_a_state_that_goes_in_and_out_keeps_its_eight_bits() -> None:
    with pytest.raises(UnsupportedError, match="comes in or goes out"):
        fuse_scan(ScanMaker(8, state="input").model(), wide_state=True)


def test_a_wide_state_is_an_int16_variable() -> None:
    result = fuse_scan(ScanMaker(9).model(), wide_state=True).model
    (state,) = [t for t in result.subgraphs[0].tensors if t.is_variable]
    assert state.dtype is DType.INT16
    assert state.quantization.zero_point == (0,)


# The registration


def test_the_registration_is_shipped_and_says_how_it_is_used() -> None:
    text = registration_source()
    assert 'resolver.AddCustom("SELECTIVE_SCAN"' in text
    assert "#ifdef REFMICRO_BRIDGE" in text
