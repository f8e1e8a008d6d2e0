"""SPLIT against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, outputs, axis, *, x=DType.INT8, y=None, axis_tensor=None):
    """A SPLIT of `shape` into tensors of shapes `outputs`."""
    if axis_tensor is None:
        axis_tensor = tensor(DType.INT32, (), data=np.array(axis))
    outs = [tensor(x if y is None else y, s, name=str(i)) for i, s in enumerate(outputs)]
    return model_of("SPLIT", [axis_tensor, tensor(x, shape)], outs, {"num_splits": len(outputs)})


@given(
    st.data(),
    st.integers(1, 5),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32]),
)
def test_any_axis(data, rank, dtype):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    axis = data.draw(st.integers(0, rank - 1))
    count = data.draw(st.integers(1, 6))
    whole = (*shape[:axis], shape[axis] * count, *shape[axis + 1 :])
    negative = data.draw(st.booleans())
    compare(
        model(whole, [tuple(shape)] * count, axis - rank if negative else axis, x=dtype),
        expect="run",
    )


def test_axis_of_one_element():
    axis = tensor(DType.INT32, (1,), data=np.array([1]))
    compare(model((2, 6), [(2, 3)] * 2, 1, axis_tensor=axis), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((4,), [(2,)] * 2, 0, x=DType.UINT8),
        model((4,), [(2,)] * 2, 0, x=DType.BOOL),
        model((4,), [(2,)] * 2, 1),
        model((4,), [(2,)] * 2, -2),
        model((4,), [(2,)] * 2, 0, axis_tensor=tensor(DType.INT32, ())),
    ],
    ids=["uint8", "bool", "axis 1", "axis -2", "computed axis"],
)
def test_refused(refused):
    compare(refused, inputs=None, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((4,), [(3,)] * 2, 0),
        model((4,), [(1,)] * 2, 0),
        model((4, 3), [(2, 3), (2, 2)], 0),
        model((4,), [(2,)] * 2, 0, y=DType.INT16),
    ],
    ids=["too long", "too short", "unequal", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SPLIT"):
        prepare_model(broken, TflmBuild())
