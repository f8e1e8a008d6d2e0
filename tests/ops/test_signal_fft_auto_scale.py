"""SignalFftAutoScale against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(shape, *, output=None, scale=(), types=(DType.INT16, DType.INT16, DType.INT32)):
    """An automatic scale."""
    x, y, bits = types
    outs = [tensor(y, shape if output is None else output), tensor(bits, scale)]
    return signal_model("SignalFftAutoScale", [tensor(x, shape)], outs)


@given(st.integers(1, 40), st.integers(0, 16), st.integers(0, 99))
def test_any_level(length, bits, seed):
    high = 1 << bits
    rng = np.random.default_rng(seed)
    x = rng.integers(-high, high, (5, length)).clip(-32768, 32767).astype(np.int16)
    compare(model((length,)), [x], expect="run")


@given(st.lists(st.sampled_from([-32768, -32767, -5, -1, 0, 1, 3, 32767]), min_size=1, max_size=9))
def test_the_lowest_value(values):
    """TFLM cannot hold the magnitude of -32768 and goes on from there."""
    compare(model((len(values),)), [np.array([values], np.int16)], expect="run")


def test_every_value_alone():
    compare(model((1,)), [np.arange(-32768, 32768, 7, dtype=np.int16)[:, None]], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((4,), types=(DType.INT32, DType.INT16, DType.INT32)),
        model((4,), types=(DType.INT16, DType.INT32, DType.INT32)),
        model((4,), types=(DType.INT16, DType.INT16, DType.INT16)),
        model((1, 4), output=(4,)),
        model((4,), output=(1, 4)),
        model((4,), scale=(1,)),
    ],
    ids=["input", "output", "scale", "matrix", "output matrix", "scale vector"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_short_input():
    with pytest.raises(InvalidModelError, match="must hold 5 values"):
        prepare_model(model((4,), output=(5,)), TflmBuild())
