"""SignalPCAN against the real TFLM."""

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

ENDS = [0, 1, 2, 3, 4, 1023, 1024, 2**31, 2**32 - 1]


def model(count, *, shift=12, lut=125, types=None, shapes=None):
    """Gain control of `count` channels; the table is an input."""
    x, noise, table, y = types or (DType.UINT32, DType.UINT32, DType.INT16, DType.UINT32)
    shapes = shapes or [(count,), (count,), (lut,), (count,)]
    tensors = [tensor(t, s) for t, s in zip((x, noise, table, y), shapes, strict=True)]
    return signal_model("SignalPCAN", tensors[:3], tensors[3:], snr_shift=shift)


@given(st.integers(1, 40), st.integers(0, 63), st.integers(1, 32), st.integers(0, 99))
def test_any_gain(count, shift, bits, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**32, (5, count), dtype=np.uint32)
    noise = rng.integers(0, 2**bits, (5, count), dtype=np.uint64).astype(np.uint32)
    noise[0] = rng.choice(ENDS, count)
    lut = rng.integers(-32768, 32767, (5, 125), dtype=np.int16)
    compare(model(count, shift=shift), [x, noise, lut], expect="run")


def test_every_power_of_two():
    noise = np.array([[(1 << bit) + d for bit in range(2, 32) for d in (-1, 0, 1)]], np.uint32)
    x = np.full(noise.shape, 5000, np.uint32)
    lut = np.random.default_rng(0).integers(-32768, 32767, (1, 125), dtype=np.int16)
    compare(model(noise.shape[1], shift=6), [x, noise, lut], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(3, types=(DType.INT32, DType.UINT32, DType.INT16, DType.UINT32)),
        model(3, types=(DType.UINT32, DType.INT32, DType.INT16, DType.UINT32)),
        model(3, types=(DType.UINT32, DType.UINT32, DType.INT32, DType.UINT32)),
        model(3, types=(DType.UINT32, DType.UINT32, DType.INT16, DType.INT32)),
        model(3, shapes=[(1, 3), (3,), (125,), (3,)]),
        model(3, shapes=[(3,), (3,), (1, 125), (3,)]),
    ],
    ids=["input", "noise", "table", "output", "matrix", "table matrix"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model(3, lut=124),
        model(3, shift=64),
        model(3, shapes=[(3,), (2,), (125,), (3,)]),
        model(3, shapes=[(3,), (3,), (125,), (2,)]),
    ],
    ids=["table", "shift", "noise", "output"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalPCAN"):
        prepare_model(broken, TflmBuild())
