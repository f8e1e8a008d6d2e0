"""SPLIT_V against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, outputs, axis, *, x=DType.INT8, y=None, axis_tensor=None, sizes=None):
    """A SPLIT_V of `shape` into tensors of shapes `outputs`; the sizes are not read."""
    if axis_tensor is None:
        axis_tensor = tensor(DType.INT32, (), data=np.array(axis))
    if sizes is None:
        sizes = tensor(DType.INT32, (len(outputs),), data=np.zeros(len(outputs)))
    outs = [tensor(y or x, s) for s in outputs]
    options = {"num_splits": len(outputs)}
    return model_of("SPLIT_V", [tensor(x, shape), sizes, axis_tensor], outs, options)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.data(),
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32]),
)
def test_any_axis(shape, data, sizes, dtype):
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    at = axis % rank
    outputs = [(*shape[:at], size, *shape[at + 1 :]) for size in sizes]
    whole = (*shape[:at], sum(sizes), *shape[at + 1 :])
    compare(model(whole, outputs, axis, x=dtype), expect="run")


def test_computed_sizes_are_not_read():
    compare(model((5,), [(2,), (3,)], 0, sizes=tensor(DType.INT32, (2,))), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((4,), [(1,), (3,)], 0, x=DType.UINT8),
        model((4,), [(1,), (3,)], 1),
        model((4,), [(1,), (3,)], -2),
        model((4,), [(1,), (3,)], 0, axis_tensor=tensor(DType.INT32, ())),
    ],
    ids=["uint8", "axis 1", "axis -2", "computed axis"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((4,), [(1,), (2,)], 0),
        model((4,), [(1,), (4,)], 0),
        model((4, 2), [(1, 2), (3, 3)], 0),
        model((4,), [(1,), (3,)], 0, y=DType.INT16),
    ],
    ids=["too short", "too long", "other size", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SPLIT_V"):
        prepare_model(broken, TflmBuild())
