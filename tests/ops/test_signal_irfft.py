"""SignalIrfft against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.ops._kiss_fft import is_supported
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle

TYPES = [DType.INT16, DType.INT32, DType.FLOAT32]
LENGTHS = [length for length in range(4, 129) if is_supported(length)]


def model(lead, length, dtype=DType.INT16, *, size=None, output=None, x=None, y=None):
    """An inverse FFT of the last dimension."""
    shape = (*lead, 2 * (length // 2 + 1) if size is None else size)
    output = (*lead, length) if output is None else output
    return signal_model(
        "SignalIrfft",
        [tensor(x or dtype, shape)],
        [tensor(y or dtype, output)],
        T=dtype.value,
        fft_length=length,
    )


@given(
    st.sampled_from(LENGTHS),
    st.lists(st.integers(1, 3), max_size=2),
    st.sampled_from(TYPES),
    st.integers(0, 99),
)
def test_any_length(length, lead, dtype, seed):
    compare(model(lead, length, dtype), rows=2, seed=seed, expect="run")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("length", [256, 480, 512])
def test_usual_lengths(length, dtype):
    compare(model((), length, dtype), rows=2, expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.INT32])
@pytest.mark.parametrize("length", [4, 6, 10, 16, 30, 60])
def test_ends_of_the_range(length, dtype):
    limits = np.iinfo(dtype.numpy)
    rng = np.random.default_rng(length)
    ends = rng.choice([limits.min, limits.min + 1, -1, 0, limits.max], (20, length // 2 * 2 + 2))
    compare(model((), length, dtype), [ends.astype(dtype.numpy)], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((), 8, x=DType.INT32),
        model((), 8, y=DType.INT32),
        model((2,), 8, output=(16,)),
    ],
    ids=["input", "output", "rank"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((), 7, size=8),
        model((), 14),
        model((), 8, size=8),
        model((), 8, output=(9,)),
        model((), 8, DType.INT8),
    ],
    ids=["odd", "factor 7", "input", "output", "int8"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalIrfft"):
        prepare_model(broken, TflmBuild())
