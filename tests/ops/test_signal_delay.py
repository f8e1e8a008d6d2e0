"""SignalDelay against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(shape, length, *, output=None, x=DType.INT16, y=DType.INT16):
    """A delay."""
    out = tensor(y, shape if output is None else output)
    return signal_model("SignalDelay", [tensor(x, shape)], [out], delay_length=length)


@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 6),
    st.integers(0, 15),
    st.booleans(),
)
def test_streams(lead, samples, length, steps):
    compare(model((*lead, samples), length), rows=7, steps=steps, expect="run")


@pytest.mark.parametrize(
    "refused", [model((4,), 1, x=DType.INT32), model((4,), 1, y=DType.INT32)], ids=["x", "y"]
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken", [model((4,), -1), model((4,), 1, output=(3,))], ids=["delay", "output"]
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalDelay"):
        prepare_model(broken, TflmBuild())
