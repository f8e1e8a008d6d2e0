"""UNPACK against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, outputs, axis, *, num=None, x=DType.INT8, y=None):
    """An UNPACK of `shape` into tensors of shapes `outputs`."""
    outs = [tensor(y or x, s) for s in outputs]
    options = {"num": len(outputs) if num is None else num, "axis": axis}
    return model_of("UNPACK", [tensor(x, shape)], outs, options)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.data(),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32]),
)
def test_any_axis(shape, data, dtype):
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    at = axis % rank
    rest = (*shape[:at], *shape[at + 1 :])
    compare(model(tuple(shape), [rest] * shape[at], axis, x=dtype), expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.BOOL, DType.INT64])
def test_refused_types(dtype):
    compare(model((2, 3), [(3,)] * 2, 0, x=dtype), expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((3, 2), [(2,)] * 2, 0),
        model((2, 2), [(2,)] * 2, 0, num=1),
        model((2, 2), [(3,)] * 2, 0),
        model((2, 2), [(2,)] * 2, 2),
        model((2, 2), [(2,)] * 2, 0, y=DType.INT16),
    ],
    ids=["too few", "num", "other size", "axis", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="UNPACK"):
        prepare_model(broken, TflmBuild())
