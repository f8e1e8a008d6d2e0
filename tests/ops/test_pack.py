"""PACK against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(inputs, output, axis, count=None):
    """A PACK of tensors."""
    options = {"values_count": len(inputs) if count is None else count, "axis": axis}
    return model_of("PACK", inputs, [output], options)


def of_shape(shape, count, axis, dtype=DType.INT8, total=None):
    """A PACK of `count` free tensors of `shape`."""
    place = axis + len(shape) + 1 if axis < 0 else axis
    total = (*shape[:place], count, *shape[place:]) if total is None else total
    return model([tensor(dtype, shape) for _ in range(count)], tensor(dtype, total), axis)


@given(
    st.lists(st.integers(1, 4), max_size=4),
    st.data(),
    st.integers(1, 12),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32]),
)
def test_any_axis(shape, data, count, dtype):
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    compare(of_shape(tuple(shape), count, axis, dtype), expect="run")


def test_one_tensor_twice_and_a_constant():
    x = tensor(DType.INT8, (3,))
    fixed = tensor(DType.INT8, (3,), data=np.array([1, -2, 3]))
    compare(model([x, fixed, x], tensor(DType.INT8, (3, 3)), 1), expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.BOOL])
def test_refused_types(dtype):
    compare(of_shape((2,), 2, 0, dtype), expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model([tensor(DType.INT8, (2,))], tensor(DType.INT8, (2, 2)), 0, count=2),
        of_shape((2,), 2, 0, total=(3, 2)),
        of_shape((2,), 2, 0, total=(2, 3)),
        of_shape((2,), 2, 2, total=(2, 2)),
        model([tensor(DType.INT16, (2,))], tensor(DType.INT8, (1, 2)), 0),
        model([tensor(DType.INT8, (2,)), None], tensor(DType.INT8, (2, 2)), 0),
    ],
    ids=["count", "size of the axis", "other size", "axis", "two types", "absent"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="PACK"):
        prepare_model(broken, TflmBuild())
