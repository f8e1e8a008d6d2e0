"""SignalFilterBankSpectralSubtraction against the real TFLM."""

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

USUAL = {
    "smoothing": int(0.06 * (1 << 14)),
    "one_minus_smoothing": int(0.94 * (1 << 14)),
    "alternate_smoothing": int(0.12 * (1 << 14)),
    "alternate_one_minus_smoothing": int(0.88 * (1 << 14)),
    "min_signal_remaining": int(0.05 * (1 << 14)),
    "smoothing_bits": 10,
    "spectral_subtraction_bits": 14,
    "clamping": False,
}


def model(channels, *, sizes=None, types=(DType.UINT32,) * 3, **options):
    """A spectral subtraction."""
    sizes = [(channels,)] * 3 if sizes is None else sizes
    x, y, noise = (tensor(t, size) for t, size in zip(types, sizes, strict=True))
    settings = {**USUAL, "num_channels": channels, **options}
    return signal_model("SignalFilterBankSpectralSubtraction", [x], [y, noise], **settings)


@given(st.integers(1, 12), st.booleans(), st.integers(0, 32), st.integers(0, 99))
def test_streams(channels, clamping, bits, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**bits, (12, channels), dtype=np.uint64).astype(np.uint32)
    compare(model(channels, clamping=clamping), [x], steps=True, expect="run")


@given(
    st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 5),
    st.integers(0, 31),
    st.integers(0, 63),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_options(numbers, smoothing_bits, bits, clamping, seed):
    names = [key for key in USUAL if "bits" not in key and key != "clamping"]
    options = dict(zip(names, numbers, strict=True))
    built = model(
        5,
        smoothing_bits=smoothing_bits,
        spectral_subtraction_bits=bits,
        clamping=clamping,
        **options,
    )
    x = np.random.default_rng(seed).integers(0, 2**32, (6, 5), dtype=np.uint32)
    compare(built, [x], steps=True, expect="run")


def test_reset_forgets():
    x = np.full((4, 3), 1000, np.uint32)
    compare(model(3), [x], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(3, types=(DType.INT32, DType.UINT32, DType.UINT32)),
        model(3, types=(DType.UINT32, DType.INT32, DType.UINT32)),
        model(3, types=(DType.UINT32, DType.UINT32, DType.INT32)),
        model(3, sizes=[(1, 3), (3,), (3,)]),
        model(3, sizes=[(3,), (1, 3), (3,)]),
        model(3, sizes=[(3,), (3,), (1, 3)]),
    ],
    ids=["input", "output", "noise", "matrix", "output matrix", "noise matrix"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model(3, sizes=[(2,), (3,), (3,)]),
        model(3, sizes=[(3,), (3,), (4,)]),
        model(3, smoothing_bits=32),
        model(3, spectral_subtraction_bits=64),
    ],
    ids=["input", "noise", "smoothing_bits", "spectral_subtraction_bits"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SpectralSubtraction"):
        prepare_model(broken, TflmBuild())
