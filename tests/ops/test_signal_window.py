"""SignalWindow against the real TFLM."""

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


def model(shape, length, shift=12, *, output=None, types=(DType.INT16,) * 3, window=None):
    """A window over `shape`."""
    x, w, y = types
    weights = tensor(w, (length,) if window is None else window)
    out = tensor(y, shape if output is None else output)
    return signal_model("SignalWindow", [tensor(x, shape), weights], [out], shift=shift)


@given(
    st.lists(st.integers(1, 4), max_size=2),
    st.integers(1, 16),
    st.integers(1, 3),
    st.integers(0, 31),
    st.integers(0, 99),
)
def test_any_window(lead, length, windows, shift, seed):
    compare(model((*lead, length * windows), length, shift), seed=seed, expect="run")


def test_constant_weights():
    weights = tensor(DType.INT16, (4,), data=np.array([4096, -4096, 32767, -32768]))
    x = tensor(DType.INT16, (4,))
    compare(
        signal_model("SignalWindow", [x, weights], [tensor(DType.INT16, (4,))], shift=12),
        expect="run",
    )


@pytest.mark.parametrize(
    "refused",
    [
        model((4,), 4, types=(DType.INT32, DType.INT16, DType.INT16)),
        model((4,), 4, types=(DType.INT16, DType.INT8, DType.INT16)),
        model((4,), 4, types=(DType.INT16, DType.INT16, DType.INT32)),
        model((4,), 4, window=(1, 4)),
        model((4,), 4, output=(1, 4)),
        model((), 1, output=()),
    ],
    ids=["input", "weights", "output", "matrix", "rank", "scalar"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model((5,), 4), model((4,), 4, output=(3,)), model((4,), 4, 32), model((4,), 4, -1)],
    ids=["part of a window", "output", "shift 32", "shift -1"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalWindow"):
        prepare_model(broken, TflmBuild())


def test_options_must_be_there():
    x = tensor(DType.INT16, (4,))
    built = signal_model("SignalWindow", [x, x], [tensor(DType.INT16, (4,))])
    with pytest.raises(InvalidModelError, match="options"):
        prepare_model(built, TflmBuild())
