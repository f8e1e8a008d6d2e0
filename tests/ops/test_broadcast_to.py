"""BROADCAST_TO against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

TYPES = [DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL, DType.UINT8]


def model(shape, target, *, output=None, x=DType.INT8, y=None, kind=DType.INT32, constant=True):
    """A BROADCAST_TO."""
    given_shape = tensor(kind, np.shape(target), data=np.array(target) if constant else None)
    out = tensor(y or x, tuple(target) if output is None else output)
    return model_of("BROADCAST_TO", [tensor(x, shape), given_shape], [out], {})


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.data(),
    st.sampled_from(TYPES),
    st.sampled_from([DType.INT32, DType.INT64]),
)
def test_any_shape(target, data, dtype, kind):
    rank = data.draw(st.integers(0, len(target)))
    shape = tuple(data.draw(st.sampled_from([1, size])) for size in target[len(target) - rank :])
    compare(model(shape, target, x=dtype, kind=kind), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((2,), [3]),
        model((2, 1), [2]),
        model((1,), [1] * 6),
        model((1,), [3], output=(2,)),
        model((1,), [3], output=(3, 1)),
        model((1,), [3], y=DType.UINT8),
        model((1,), [3], kind=DType.INT16),
        model((1,), [3], constant=False),
    ],
    ids=["size", "rank", "6 dimensions", "output", "output rank", "types", "int16", "computed"],
)
def test_refused(refused):
    compare(refused, expect="refuse")
