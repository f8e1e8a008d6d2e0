"""GATHER_ND against the real TFLM."""

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


def model(shape, indices, *, constant=None, x=DType.INT8, y=None, kind=DType.INT32, output=None):
    """A GATHER_ND; `indices` is the shape of computed ones, `constant` their values."""
    if output is None:
        output = (*indices[:-1], *shape[indices[-1] :]) if indices else ()
    where = tensor(kind, indices, data=constant)
    return model_of("GATHER_ND", [tensor(x, shape), where], [tensor(y or x, output)], {})


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.data(),
    st.lists(st.integers(1, 4), max_size=2),
    st.booleans(),
    st.sampled_from([DType.INT8, DType.FLOAT32]),
)
def test_any_depth(shape, data, lead, constant, dtype):
    depth = data.draw(st.integers(1, len(shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices = rng.integers(0, shape[:depth], (4, *lead, depth)).astype(np.int32)
    built = model(tuple(shape), (*lead, depth), x=dtype, constant=indices[0] if constant else None)
    values = random_values(tensor(dtype, tuple(shape)), 4, rng)
    compare(built, [values] if constant else [values, indices], expect="run")


def test_only_the_whole_is_checked():
    """An index may leave its dimension if the place is inside all the same."""
    indices = np.array([[[0, 4]], [[1, -3]], [[2, -1]], [[-1, 5]]], np.int32)
    values = np.arange(24, dtype=np.int8).reshape(4, 2, 3)
    compare(model((2, 3), (1, 2)), [values, indices], expect="run")


@pytest.mark.parametrize("place", [[0, 6], [0, -1], [2, 0], [-1, 2], [2**30, 0]])
def test_outside_is_refused(place):
    compare(model((2, 3), (1, 2), constant=np.array([place])), expect="refuse")


@pytest.mark.parametrize(
    "refused",
    [
        model((3,), (1, 1), x=DType.INT16),
        model((3,), (1, 1), kind=DType.INT64),
        model((3,), (1, 2), output=(1,)),
        model((3,), (), output=(3,)),
        model((), (1, 1), output=(1,)),
        model((1,) * 6, (1, 6), output=(1,)),
    ],
    ids=["int16", "int64 indices", "too deep", "scalar indices", "scalar params", "6 deep"],
)
def test_refused(refused):
    compare(
        refused,
        [
            np.zeros((1, *t.shape), t.dtype.numpy)
            for t in (refused.subgraphs[0].tensors[i] for i in (0, 1))
        ],
        expect="refuse",
    )


@pytest.mark.parametrize(
    "broken",
    [model((3, 2), (4, 1), output=(4,)), model((3,), (1, 1), y=DType.FLOAT32)],
    ids=["output shape", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="GATHER_ND"):
        prepare_model(broken, TflmBuild())


def test_computed_index_outside():
    interpreter = Interpreter(model((3,), (1, 1)))
    interpreter.set_input(np.array([[3]], np.int32), 1)
    with pytest.raises(UsageError, match="GATHER_ND"):
        interpreter.invoke()
