"""SignalFilterBankLog against the real TFLM."""

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


def model(count, *, bits=3, scale=1600, x=DType.UINT32, y=DType.INT16, output=None, shape=None):
    """Logarithms of `count` values."""
    source = tensor(x, (count,) if shape is None else shape)
    out = tensor(y, (count,) if output is None else output)
    return signal_model(
        "SignalFilterBankLog", [source], [out], input_correction_bits=bits, output_scale=scale
    )


@given(
    st.integers(0, 31),
    st.one_of(st.sampled_from([64, 1600]), st.integers(-(2**31), 2**31 - 1)),
    st.integers(1, 32),
    st.integers(0, 99),
)
def test_any_values(bits, scale, size, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**size, (4, 50), dtype=np.uint64).astype(np.uint32)
    compare(model(50, bits=bits, scale=scale), [x], expect="run")


def test_small_values_and_powers():
    powers = [2**bit + d for bit in range(1, 32) for d in (-1, 0, 1)]
    x = np.array([[*range(2000), *powers, 2**32 - 1]], np.uint32)
    compare(model(x.shape[1], bits=0), [x], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(3, x=DType.INT32),
        model(3, y=DType.INT32),
        model(3, shape=(1, 3)),
        model(3, output=(1, 3)),
    ],
    ids=["input", "output", "matrix", "output matrix"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken", [model(3, bits=32), model(3, output=(2,))], ids=["bits", "output"]
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalFilterBankLog"):
        prepare_model(broken, TflmBuild())
