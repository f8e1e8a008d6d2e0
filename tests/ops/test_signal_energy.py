"""SignalEnergy against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, random_values, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(values, start, end, *, size=None, x=DType.INT16, y=DType.UINT32, shape=None):
    """Energies of `values` complex numbers."""
    source = tensor(x, (2 * values,) if shape is None else shape)
    out = tensor(y, (values if size is None else size,))
    return signal_model("SignalEnergy", [source], [out], start_index=start, end_index=end)


@given(st.integers(1, 40), st.integers(0, 99))
def test_whole(values, seed):
    compare(model(values, 0, values), seed=seed, expect="run")


@given(st.integers(1, 20), st.data())
def test_part(values, data):
    """TFLM leaves the rest of its output as it was."""
    start = data.draw(st.integers(0, values))
    end = data.draw(st.integers(0, values))
    built = model(values, start, end)
    x = random_values(tensor(DType.INT16, (2 * values,)), 3, np.random.default_rng(0))
    (mine,) = Interpreter(built).invoke_batch([x])
    result = oracle_run(write_model(built), [[row] for row in x])
    want = np.stack([step[0] for step in result.outputs])
    assert (mine[:, start:end] == want[:, start:end]).all()
    assert not mine[:, :start].any()
    assert not mine[:, max(start, end) :].any()


def test_largest():
    x = np.full((1, 2), -32768, np.int16)
    compare(model(1, 0, 1), [x], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(4, 0, 4, x=DType.INT32),
        model(4, 0, 4, y=DType.INT32),
        model(4, 0, 4, shape=(1, 8)),
    ],
    ids=["input", "output", "matrix"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model(4, 0, 5), model(4, -1, 4), model(4, 0, 4, size=3)],
    ids=["end", "start", "output"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalEnergy"):
        prepare_model(broken, TflmBuild())
