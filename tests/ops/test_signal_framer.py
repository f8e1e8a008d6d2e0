"""SignalFramer against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, random_values, tensor
from tests.ops.signal import compare_valid, signal_model

pytestmark = pytest.mark.oracle


def model(lead, samples, size, step, prefill=False, *, output=None, types=None, valid=()):
    """A framer over streams of `samples`."""
    x, y, flag = types or (DType.INT16, DType.INT16, DType.BOOL)
    output = (*lead, samples // max(1, step), size) if output is None else output
    outs = [tensor(y, output), tensor(flag, valid)]
    return signal_model(
        "SignalFramer",
        [tensor(x, (*lead, samples))],
        outs,
        frame_size=size,
        frame_step=step,
        prefill=prefill,
    )


@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 20),
    st.booleans(),
    st.integers(0, 5),
)
def test_streams(lead, frames, step, size, prefill, reset_at):
    prefill = prefill and size >= step
    built = model(lead, frames * step, size, step, prefill)
    x = random_values(tensor(DType.INT16, (*lead, frames * step)), 12, np.random.default_rng(size))
    valid = compare_valid(built, [x], reset_at=reset_at)
    assert valid > 0 or -(-size // step) + frames > 7


def test_whole_outputs_and_arena():
    """Prefilled frames are always complete."""
    compare(model((2,), 320, 480, 160, True), rows=6, steps=True, expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((), 6, 4, 4),
        model((), 2, 4, 4),
        model((), 4, 4, 4, types=(DType.INT32, DType.INT16, DType.BOOL)),
        model((), 4, 4, 4, types=(DType.INT16, DType.INT32, DType.BOOL)),
        model((), 4, 4, 4, types=(DType.INT16, DType.INT16, DType.INT8)),
        model((), 4, 4, 4, output=(4,)),
        model((), 4, 4, 4, valid=(1,)),
    ],
    ids=["part of a step", "short", "input", "output", "valid", "rank", "valid vector"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((), 4, 4, 0, output=(1, 4)),
        model((), 4, 0, 4, output=(1, 4)),
        model((), 4, 4, 4, output=(1, 5)),
        model((), 4, 2, 4, True),
    ],
    ids=["step 0", "size 0", "output", "prefill"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalFramer"):
        prepare_model(broken, TflmBuild())
