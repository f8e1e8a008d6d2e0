"""FILL against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(dims, output, *, value=None, x=DType.INT8, y=None, kind=DType.INT32, constant=True):
    """A FILL with a free value unless given."""
    given_dims = tensor(kind, np.shape(dims), data=np.array(dims) if constant else None)
    value = tensor(x, ()) if value is None else value
    return model_of("FILL", [given_dims, value], [tensor(y or x, output)], {})


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.sampled_from([DType.INT8, DType.INT32, DType.FLOAT32]),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.INT64]),
)
def test_any_shape(dims, dtype, kind):
    compare(model(dims, tuple(dims), x=dtype, kind=kind), expect="run")


def test_constant_value():
    value = tensor(DType.INT8, (), data=np.array(-7))
    compare(model([2, 3], (2, 3), value=value), inputs=[], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model([2], (2,), x=DType.INT16),
        model([2], (2,), y=DType.INT32),
        model([2], (3,)),
        model([2], (2, 1)),
        model([[2]], (2,)),
        model([2], (2,), value=tensor(DType.INT8, (1,))),
        model([2], (2,), kind=DType.UINT8),
        model([2], (2,), constant=False),
    ],
    ids=["int16", "two types", "dims", "rank", "matrix", "vector", "uint8 dims", "computed dims"],
)
def test_refused(refused):
    compare(refused, expect="refuse")
