"""SQUEEZE against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, axes, output, *, x=DType.INT8, y=None):
    """A SQUEEZE."""
    return model_of(
        "SQUEEZE", [tensor(x, shape)], [tensor(y or x, output)], {"squeeze_dims": list(axes)}
    )


@given(
    st.lists(st.sampled_from([1, 1, 2, 3]), max_size=6),
    st.data(),
    st.sampled_from([DType.INT8, DType.INT32, DType.FLOAT32, DType.BOOL, DType.UINT8]),
)
def test_any_axes(shape, data, dtype):
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    named = data.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    gone = set(named or ones)
    output = tuple(size for axis, size in enumerate(shape) if axis not in gone)
    signs = data.draw(st.booleans())
    axes = [axis - len(shape) if signs else axis for axis in named]
    compare(model(tuple(shape), axes, output, x=dtype), expect="run")


def test_more_ones_behind():
    compare(model((1, 3), [0], (3, 1)), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((1, 3), [1], (3,)),
        model((1, 3), [2], (3,)),
        model((1, 3), [-3], (3,)),
        model((1, 3), [0], (4,)),
        model((1,) * 9, [], ()),
        model((1, 3), [0] * 9, (3,)),
        model((1, 3), [0], ()),
        model((1, 2), [0], (1, 2)),
    ],
    ids=["size 3", "axis 2", "axis -3", "bytes", "9 dimensions", "9 axes", "no room", "too small"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_two_types_are_malformed():
    with pytest.raises(InvalidModelError, match="one type"):
        prepare_model(model((1, 2), [0], (2,), y=DType.UINT8), TflmBuild())
