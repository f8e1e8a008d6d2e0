"""EXPAND_DIMS against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, axis, output, *, x=DType.INT8, y=None, axis_tensor=None):
    """An EXPAND_DIMS."""
    if axis_tensor is None:
        axis_tensor = tensor(DType.INT32, (), data=np.array(axis))
    return model_of("EXPAND_DIMS", [tensor(x, shape), axis_tensor], [tensor(y or x, output)], {})


@given(
    st.lists(st.integers(1, 4), max_size=4),
    st.data(),
    st.sampled_from([DType.INT8, DType.INT16, DType.FLOAT32]),
)
def test_any_axis(shape, data, dtype):
    rank = len(shape)
    axis = data.draw(st.integers(-rank - 1, rank))
    at = axis % (rank + 1)
    output = (*shape[:at], 1, *shape[at:])
    compare(model(tuple(shape), axis, output, x=dtype), expect="run")


def test_axis_of_one_element():
    axis = tensor(DType.INT32, (1,), data=np.array([1]))
    compare(model((2, 3), 1, (2, 1, 3), axis_tensor=axis), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((2,), 0, (1, 2), x=DType.INT32),
        model((2,), 2, (2, 1)),
        model((2,), 0, (2, 1)),
        model((2,), 0, (2,)),
        model((2,), 0, (1, 2), axis_tensor=tensor(DType.INT64, (), data=np.array(0))),
        model((2,), 0, (1, 2), axis_tensor=tensor(DType.INT32, (1, 1), data=np.array([[0]]))),
        model((2,), 0, (1, 2), axis_tensor=tensor(DType.INT32, ())),
    ],
    ids=["int32", "axis 2", "order", "rank", "int64 axis", "matrix", "computed axis"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model((2,), 0, (1, 2), y=DType.INT16), model((2,), -3, (1, 2))],
    ids=["two types", "axis -3"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="EXPAND_DIMS"):
        prepare_model(broken, TflmBuild())
