"""CIRCULAR_BUFFER against the real TFLM."""

import dataclasses

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import Oracle, OracleRefusal
from refmicro.errors import InvalidModelError, UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(slots, width, depth, cycles, *, batch=1, x=DType.INT8, y=None, **more):
    """A CIRCULAR_BUFFER; `cycles` None leaves the options out."""
    options = b"" if cycles is None else bytes(flexbuffers.Dumps({"cycles_max": cycles}))
    quantization = {"scale": 0.5, "zero_point": more.get("zero_point", 0)}
    source = tensor(x, more.get("shape", (batch, 1, width, depth)), **quantization)
    out = tensor(
        y or x, (batch, slots, width, depth), variable=more.get("variable", True), **quantization
    )
    return model_of("CIRCULAR_BUFFER", [source], [out], custom=True, custom_options=options)


@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from([-128, -3, 0, 127]),
    st.booleans(),
)
def test_one_cycle(slots, width, depth, batch, zero_point, steps):
    built = model(slots, width, depth, 1, batch=batch, zero_point=zero_point)
    compare(built, rows=8, steps=steps, expect="run")


@pytest.mark.parametrize("slots", [5, 13, 25])
def test_period_without_options(slots):
    compare(model(slots, 1, 3, None), steps=True, expect="run")


@pytest.mark.parametrize(("cycles", "given"), [(2, 2), (3, 3), (2, None), (2, 0)])
def test_invocations_that_end_early(cycles, given):
    """Every `cycles`th invocation goes on, on both sides, also after a reset."""
    built = model(4, 1, 2, given)
    interpreter = Interpreter(built)
    rows = np.random.default_rng(0).integers(-128, 127, (9, 1, 1, 1, 2), dtype=np.int8)
    with Oracle(write_model(built)) as oracle:
        for step, row in enumerate(rows):
            if step == 7:
                oracle.reset()
                interpreter.reset()
            goes_on = (step - 7 if step >= 7 else step) % cycles == cycles - 1
            oracle.set_input(row)
            interpreter.set_input(row)
            if goes_on:
                oracle.invoke()
                interpreter.invoke()
                assert interpreter.get_output().tobytes() == oracle.get_output().tobytes()
            else:
                with pytest.raises(OracleRefusal):
                    oracle.invoke()
                with pytest.raises(UsageError, match=f"one of {cycles} goes on"):
                    interpreter.invoke()


def test_ambiguous_period_is_refused():
    with pytest.raises(UnsupportedError, match="cycles_max must be given"):
        prepare_model(model(4, 2, 96, None), TflmBuild())


@pytest.mark.parametrize(
    "refused",
    [
        model(4, 1, 2, 1, x=DType.INT16),
        model(4, 1, 2, 1, y=DType.UINT8),
        model(4, 1, 2, 1, shape=(1, 2, 1, 2)),
        model(4, 1, 2, 1, shape=(1, 1, 1, 3)),
        model(4, 1, 2, 1, shape=(2, 1, 1, 2)),
    ],
    ids=["int16", "two types", "two slots", "depth", "batch"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_one_input_and_one_output(side):
    one = model(4, 1, 2, 1)
    graph = one.subgraphs[0]
    op = graph.operators[0]
    op = dataclasses.replace(op, **{side: getattr(op, side) * 2})
    graph = dataclasses.replace(graph, operators=(op,))
    compare(dataclasses.replace(one, subgraphs=(graph,)), expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model(4, 1, 2, 1, variable=False), model(4, 1, 2, 1, shape=(1, 1, 2))],
    ids=["no variable", "rank"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="CIRCULAR_BUFFER"):
        prepare_model(broken, TflmBuild())
