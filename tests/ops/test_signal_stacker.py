"""SignalStacker against the real TFLM."""

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


def model(channels, left, right, step, *, size=None, types=None, shapes=None):
    """A stacker of frames of `channels` values."""
    x, y, flag = types or (DType.INT16, DType.INT16, DType.BOOL)
    size = channels * (left + right + 1) if size is None else size
    shapes = shapes or [(channels,), (size,), ()]
    tensors = [tensor(t, s) for t, s in zip((x, y, flag), shapes, strict=True)]
    return signal_model(
        "SignalStacker",
        tensors[:1],
        tensors[1:],
        num_channels=channels,
        stacker_left_context=left,
        stacker_right_context=right,
        stacker_step=step,
    )


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.data(), st.integers(0, 7))
def test_streams(channels, left, right, data, reset_at):
    step = data.draw(st.integers(1, left + right + 1))
    x = random_values(tensor(DType.INT16, (channels,)), 20, np.random.default_rng(step))
    assert compare_valid(model(channels, left, right, step), [x], reset_at=reset_at) > 0


def test_whole_outputs_and_arena():
    """Without frames to come every output of step 1 is complete."""
    compare(model(4, 3, 0, 1), rows=6, steps=True, expect="run")


def test_longer_input():
    compare(model(4, 1, 0, 1, shapes=[(6,), (8,), ()]), rows=3, steps=True, expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(4, 1, 1, 1, types=(DType.INT32, DType.INT16, DType.BOOL)),
        model(4, 1, 1, 1, types=(DType.INT16, DType.INT32, DType.BOOL)),
        model(4, 1, 1, 1, types=(DType.INT16, DType.INT16, DType.INT8)),
        model(4, 1, 1, 1, shapes=[(1, 4), (12,), ()]),
        model(4, 1, 1, 1, shapes=[(4,), (1, 12), ()]),
        model(4, 1, 1, 1, shapes=[(4,), (12,), (1,)]),
    ],
    ids=["input", "output", "valid", "matrix", "output matrix", "valid vector"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model(4, 1, 1, 0),
        model(4, 1, 1, 4),
        model(4, 1, 1, 1, size=11),
        model(4, 1, 1, 1, shapes=[(3,), (12,), ()]),
    ],
    ids=["step 0", "step 4", "output", "input"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalStacker"):
        prepare_model(broken, TflmBuild())
