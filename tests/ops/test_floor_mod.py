"""FLOOR_MOD against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.elementwise import SHAPES, WIDE_SHAPES, broadcast_shapes, floats, pair_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


def divisors(*shape, seed=0):
    """Like `floats`, without zeros."""
    values = floats(*shape, seed=seed)
    return np.where(values == 0, np.float32(0.75), values)


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    inputs = [floats(2, *shapes[0]), divisors(2, *shapes[1], seed=1)]
    compare(pair_model("FLOOR_MOD", DType.FLOAT32, shapes), inputs, expect="run")


@given(broadcast_shapes(), st.integers(0, 9))
def test_whole_numbers(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-9, 10, (3, *shape)).astype(np.float32) for shape in shapes[:2])
    b[b == 0] = 4
    compare(pair_model("FLOOR_MOD", DType.FLOAT32, shapes), [a, b], expect="run")


def test_special_values():
    model = pair_model("FLOOR_MOD", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
    compare(model, [floats(1, 97, 1), divisors(1, 1, 89, seed=1)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.INT64])
def test_other_types_are_refused(dtype):
    compare(pair_model("FLOOR_MOD", dtype, SHAPES[1]), rows=1, expect="refuse")


def test_divisors_of_zero_give_nan():
    model = pair_model("FLOOR_MOD", DType.FLOAT32, ((5,), (), (5,)))
    for zero in (0.0, -0.0):
        inputs = [np.float32([[1, -2, 0, np.inf, np.nan]]), np.float32([zero])]
        compare(model, inputs, expect="run")
