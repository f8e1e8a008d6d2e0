"""TRANSPOSE against the real TFLM."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, perm, *, output=None, x=DType.INT8, y=None, constant=True):
    """A TRANSPOSE whose output has the shape that `perm` makes, unless given."""
    data = np.array(perm) if constant else None
    axes = tensor(DType.INT32, np.shape(perm), data=data)
    shape_out = tuple(shape[a] for a in perm) if output is None else output
    out = tensor(x if y is None else y, shape_out)
    return model_of("TRANSPOSE", [tensor(x, shape), axes], [out], {})


@given(st.data(), st.integers(1, 5), st.sampled_from([DType.INT8, DType.INT16, DType.FLOAT32]))
def test_any_permutation(data, rank, dtype):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank)))
    perm = data.draw(st.permutations(range(rank)))
    compare(model(shape, perm, x=dtype), expect="run")


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_three_dimensions(perm):
    compare(model((2, 3, 4), perm), expect="run")


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64, DType.UINT8, DType.BOOL])
def test_refused_types(dtype):
    compare(model((2, 3), (1, 0), x=dtype), expect="refuse")


@pytest.mark.parametrize(
    "refused",
    [
        model((1,) * 6, range(6)),
        model((2, 3), (1, 0), constant=False),
        model((2, 3), (1, 2), output=(3, 2)),
        model((2, 3), (-1, 0), output=(3, 2)),
        model((2, 3), (0,), output=(2, 3)),
        model((2, 3), (1, 0), y=DType.INT16),
    ],
    ids=["6 dimensions", "computed perm", "axis 2", "axis -1", "short perm", "two types"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_cmsis_nn_takes_fewer_dimensions():
    five, build = model((1, 2, 1, 2, 1), range(5)), TflmBuild.firmware(kernels="cmsis-nn")
    with pytest.raises(UnsupportedError, match="at most 4 dimensions"):
        prepare_model(five, build)
    prepare_model(model((1, 2, 1, 2, 1), range(5), x=DType.INT16), build)
    prepare_model(five, TflmBuild.firmware())


@pytest.mark.parametrize(
    "broken",
    [model((2, 2), (0, 0)), model((2, 3), (1, 0), output=(2, 3))],
    ids=["an axis twice", "wrong output shape"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="TRANSPOSE"):
        prepare_model(broken, TflmBuild())
