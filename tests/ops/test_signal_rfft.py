"""SignalRfft against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.ops._kiss_fft import RealFft, factors_of, is_supported
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, random_values, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle

TYPES = [DType.INT16, DType.INT32, DType.FLOAT32]
LENGTHS = [length for length in range(4, 129) if is_supported(length)]


def model(shape, length, dtype=DType.INT16, *, output=None, x=None, y=None):
    """An FFT of the last dimension."""
    output = (*shape[:-1], 2 * (length // 2 + 1)) if output is None else output
    return signal_model(
        "SignalRfft",
        [tensor(x or dtype, shape)],
        [tensor(y or dtype, output)],
        T=dtype.value,
        fft_length=length,
    )


@given(
    st.sampled_from(LENGTHS),
    st.lists(st.integers(1, 3), max_size=2),
    st.floats(0.3, 1),
    st.sampled_from(TYPES),
    st.integers(0, 99),
)
def test_any_length(length, lead, part, dtype, seed):
    samples = max(1, round(length * part))
    compare(model((*lead, samples), length, dtype), rows=2, seed=seed, expect="run")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("length", [256, 360, 480, 512, 1000, 1024])
def test_usual_lengths(length, dtype):
    compare(model((length,), length, dtype), rows=2, expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.INT32])
@pytest.mark.parametrize("length", [4, 6, 10, 16, 30, 60])
def test_ends_of_the_range(length, dtype):
    limits = np.iinfo(dtype.numpy)
    rng = np.random.default_rng(length)
    ends = rng.choice([limits.min, limits.min + 1, -1, 0, limits.max], (20, length))
    compare(model((length,), length, dtype), [ends.astype(dtype.numpy)], expect="run")


def test_matches_the_transform():
    """The scale of fixed point is 1 / fft_length; every stage scales down by a little too much."""
    x = random_values(tensor(DType.INT16, (256,)), 3, np.random.default_rng(0))
    got = RealFft(DType.INT16, 256, inverse=False).forward(x).astype(float)
    want = np.fft.rfft(x.astype(float)) / 256
    assert np.abs(got[..., 0] + 1j * got[..., 1] - want).max() < 16


@given(st.integers(2, 2000))
def test_factors(n):
    factors = factors_of(n)
    assert np.prod(factors) == n
    assert set(factors) <= {2, 3, 4, 5} or max(factors) > 5


@pytest.mark.parametrize(
    "refused",
    [
        model((8,), 8, x=DType.INT32),
        model((8,), 8, y=DType.INT32),
        model((2, 8), 8, output=(20,)),
        model((10,), 8),
    ],
    ids=["input", "output", "rank", "too many samples"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((7,), 7),
        model((14,), 14),
        model((2,), 2),
        model((8,), 8, output=(8,)),
        model((2, 8), 8, output=(1, 10)),
        model((8,), 8, DType.INT8),
    ],
    ids=["odd", "factor 7", "length 2", "output", "frames", "int8"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalRfft"):
        prepare_model(broken, TflmBuild())


def test_frames_of_nothing():
    """TFLM takes the shape [0] as no shape, transforms nothing, and leaves the output as it was."""
    with pytest.raises(InvalidModelError, match="samples"):
        prepare_model(model((0,), 8, output=(10,)), TflmBuild())
