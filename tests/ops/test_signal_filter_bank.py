"""SignalFilterBank against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(frequencies, starts, widths, *, weights=None, weight_starts=None, size=None, **more):
    """A filter bank; weights follow one another unless given."""
    channels = len(starts) - 1
    ends = np.cumsum(widths)
    if weight_starts is None:
        weight_starts = ends - widths
    count = int(ends[-1]) + 1
    rng = np.random.default_rng(count)
    if weights is None:
        weights = rng.integers(-32768, 32767, (2, count))
    tables = [
        tensor(DType.INT16, np.shape(values), data=np.array(values))
        for values in (weights[0], weights[1], starts, weight_starts, widths)
    ]
    tables = more.get("tables", tables)
    inputs = [tensor(more.get("x", DType.UINT32), (frequencies,)), *tables]
    output = tensor(more.get("y", DType.UINT64), (channels if size is None else size,))
    return signal_model("SignalFilterBank", inputs, [output], num_channels=channels)


@given(
    st.integers(5, 40),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=8),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_any_bank(frequencies, channels, low, seed):
    starts = [min(low + start, frequencies - 5) for start, _ in channels]
    widths = [width for _, width in channels]
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**32, (4, frequencies), dtype=np.uint32)
    x[0], x[1] = 0, 2**32 - 1
    compare(model(frequencies, starts, widths), [x], expect="run")


def test_fewer_outputs_than_channels():
    x = np.arange(12, dtype=np.uint32).reshape(2, 6)
    compare(model(6, [0, 1, 3], [1, 2, 3], size=1), [x], expect="run")


def test_computed_weights():
    tables = [
        tensor(DType.INT16, (6,)),
        tensor(DType.INT16, (6,)),
        *(tensor(DType.INT16, (3,), data=np.array(v)) for v in ([0, 1, 3], [0, 1, 3], [1, 2, 3])),
    ]
    compare(model(6, [0, 1, 3], [1, 2, 3], tables=tables), expect="run")


@pytest.mark.parametrize(
    "refused",
    [model(6, [0, 1], [1, 2], x=DType.INT32), model(6, [0, 1], [1, 2], y=DType.UINT32)],
    ids=["input", "output"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_computed_widths_are_not_supported():
    tables = [tensor(DType.INT16, (3,)) for _ in range(5)]
    with pytest.raises(UnsupportedError, match="channel_frequency_starts must be constant"):
        prepare_model(model(6, [0, 1, 3], [1, 2, 3], tables=tables), TflmBuild())


@pytest.mark.parametrize(
    "broken",
    [
        model(6, [0, 4], [1, 3]),
        model(6, [0, -1], [1, 3]),
        model(6, [0, 1], [1, 3], weight_starts=[0, 3]),
        model(6, [0, 1], [1, 3], size=2),
    ],
    ids=["frequency", "negative", "weight", "output"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SignalFilterBank"):
        prepare_model(broken, TflmBuild())
