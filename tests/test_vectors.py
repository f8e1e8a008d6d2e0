"""Input vectors: the same for a seed, edges first, inside the type."""

import numpy as np
import pytest

from refmicro.errors import UsageError
from refmicro.types import DType
from refmicro.vectors import INDEX_LIMIT, MAX_ELEMENTS, random_inputs, random_rows
from tests.ops.harness import tensor


def rows(dtype, shape=(3, 5), count=64, seed=0, **options):
    return random_rows(tensor(dtype, shape, **options), count, np.random.default_rng(seed))


def test_first_rows_are_the_edges():
    x = rows(DType.INT8, scale=0.5, zero_point=-7)
    assert x.dtype == np.int8
    assert x.shape == (64, 3, 5)
    assert (x[0] == -128).all()
    assert (x[1] == 127).all()
    assert (x[2] == -7).all()
    assert x[3].reshape(-1).tolist() == [-128, 127] * 7 + [-128]


def test_other_rows_reach_both_ends_and_between():
    x = rows(DType.INT8, count=400)[4:]
    assert {-128, -127, 0, 126, 127} <= set(np.unique(x).tolist())
    assert len(np.unique(x)) > 200


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64])
def test_wide_integers_are_indices(dtype):
    x = rows(dtype)
    assert x.min() == 0
    assert x.max() == INDEX_LIMIT - 1


def test_bools_and_floats():
    assert set(np.unique(rows(DType.BOOL)).tolist()) == {False, True}
    x = rows(DType.FLOAT32)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


def test_seed_decides_and_inputs_differ():
    tensors = [tensor(DType.INT8, (9,)), tensor(DType.INT8, (9,))]
    first, again = random_inputs(tensors, 8, 5), random_inputs(tensors, 8, 5)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()
    assert (first[0] != random_inputs(tensors, 8, 6)[0]).any()


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_scalars_and_empty_tensors(shape):
    assert rows(DType.INT8, shape, count=6).shape == (6, *shape)


@pytest.mark.parametrize("count", [MAX_ELEMENTS, 10**30])
def test_too_many_are_refused_before_they_are_made(count):
    with pytest.raises(UsageError, match="too many"):
        rows(DType.INT8, count=count)
