"""FLOOR_DIV against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
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
    compare(pair_model("FLOOR_DIV", DType.FLOAT32, shapes), inputs, expect="run")


@given(broadcast_shapes(), st.integers(0, 9))
def test_whole_numbers(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-9, 10, (3, *shape)).astype(np.float32) for shape in shapes[:2])
    b[b == 0] = 4
    compare(pair_model("FLOOR_DIV", DType.FLOAT32, shapes), [a, b], expect="run")


def test_special_values():
    model = pair_model("FLOOR_DIV", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
    compare(model, [floats(1, 97, 1), divisors(1, 1, 89, seed=1)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.INT64])
def test_other_types_are_refused(dtype):
    compare(pair_model("FLOOR_DIV", dtype, SHAPES[1]), rows=1, expect="refuse")


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_divisors_of_zero_fail_in_both(zero):
    model = pair_model("FLOOR_DIV", DType.FLOAT32, SHAPES[1])
    row = [np.ones(7, np.float32), np.float32([1, 2, 3, zero, 5, 6, 7])]
    assert oracle_run(write_model(model), [row]).refused is not None
    with pytest.raises(UnsupportedError):
        Interpreter(model).invoke_batch([array[None] for array in row])
