"""REVERSE_V2 against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle

TYPES = [
    DType.INT8,
    DType.UINT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.FLOAT32,
    DType.BOOL,
]


def model(shape, axes, *, count=None, output=None, x=DType.INT8, y=None, kind=DType.INT32):
    """A REVERSE_V2; `axes` is None where they are computed, `count` of them."""
    data = None if axes is None else np.array(axes)
    axis = tensor(kind, (count,) if axes is None else np.shape(axes), data=data)
    out = tensor(y or x, shape if output is None else output)
    return model_of("REVERSE_V2", [tensor(x, shape), axis], [out], {})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data(), st.sampled_from(TYPES))
def test_any_neighbours(shape, data, dtype):
    rank = len(shape)
    first = data.draw(st.integers(0, rank - 1))
    last = data.draw(st.integers(first, rank - 1))
    axes = data.draw(st.permutations(range(first, last + 1)))
    axes = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    compare(model(tuple(shape), axes, x=dtype), expect="run")


def test_computed_axes():
    values = random_values(tensor(DType.INT8, (2, 3, 4)), 4, np.random.default_rng(0))
    axes = np.array([[0, 1], [2, 1], [-1, 1], [1, 0]], np.int32)
    compare(model((2, 3, 4), None, count=2), [values, axes], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((2, 3, 4), [0, 2]),
        model((2, 3), [0, 0]),
        model((2, 3), [2]),
        model((2, 3), [-3]),
        model((2,), [0, 0]),
        model((2, 3), [[0]]),
        model((1,) * 7, [0]),
        model((2, 3), [0], kind=DType.INT64),
        model((2, 3), [0], y=DType.UINT8),
        model((2, 3), [0], x=DType.UINT32),
    ],
    ids=[
        "gap",
        "twice",
        "axis 2",
        "axis -3",
        "too many",
        "matrix",
        "7 dimensions",
        "int64 axis",
        "two types",
        "uint32",
    ],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model((2, 3), None, count=0), model((2, 3), [0], output=(2, 2))],
    ids=["no axis", "output size"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="REVERSE_V2"):
        prepare_model(broken, TflmBuild())


def test_computed_axes_with_a_gap():
    interpreter = Interpreter(model((2, 3, 4), None, count=2))
    interpreter.set_input(np.array([0, 2], np.int32), 1)
    with pytest.raises(UsageError, match="neighbouring"):
        interpreter.invoke()
