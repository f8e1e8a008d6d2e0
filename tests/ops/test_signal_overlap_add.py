"""SignalOverlapAdd against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(lead, frames, size, step, dtype=DType.INT16, *, output=None, x=None, y=None):
    """Overlapping frames."""
    output = (*lead, frames * step) if output is None else output
    return signal_model(
        "SignalOverlapAdd",
        [tensor(x or dtype, (*lead, frames, size))],
        [tensor(y or dtype, output)],
        T=dtype.value,
        frame_step=step,
    )


@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 4),
    st.integers(1, 9),
    st.data(),
    st.sampled_from([DType.INT16, DType.FLOAT32]),
    st.booleans(),
)
def test_streams(lead, frames, size, data, dtype, steps):
    step = data.draw(st.integers(1, size))
    compare(model(lead, frames, size, step, dtype), rows=6, steps=steps, expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((), 2, 4, 2, x=DType.INT32),
        model((), 2, 4, 2, y=DType.INT32),
        model((), 2, 4, 2, output=(2, 2)),
    ],
    ids=["input", "output", "rank"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((), 2, 4, 0, output=(4,)),
        model((), 2, 4, 5),
        model((), 2, 4, 2, output=(5,)),
        model((), 2, 4, 2, DType.INT32),
    ],
    ids=["step 0", "step 5", "output", "int32"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalOverlapAdd"):
        prepare_model(broken, TflmBuild())
