"""MAX_POOL_2D against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import compare
from tests.ops.pooling import DTYPES, PAIRS, SIZES, VALID, model

pytestmark = pytest.mark.oracle

NAME = "MAX_POOL_2D"


@pytest.mark.parametrize("dtype", DTYPES)
@given(SIZES, PAIRS, PAIRS, st.sampled_from([0, 1, 2, 3]), st.integers(-128, 127))
def test_same(dtype, image, taps, stride, activation, point):
    points = (point, point)
    compare(
        model(NAME, image, taps, stride=stride, dtype=dtype, activation=activation, points=points),
        expect="run",
    )


@pytest.mark.parametrize("dtype", DTYPES)
@given(PAIRS, PAIRS, st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_valid(dtype, taps, stride, more):
    image = (2, taps[0] + more[0], taps[1] + more[1], 3)
    compare(model(NAME, image, taps, stride=stride, padding=VALID, dtype=dtype), expect="run")


def test_float_ends_of_the_range():
    values = np.array([np.inf, -np.inf, 3e38, -3e38, -0.0, 1e-45, 0.0], np.float32)
    rows = np.stack([np.roll(values, i)[:3] for i in (1, 2, 3, 4, 5)]).reshape(-1, 1, 1, 3, 1)
    one = model(NAME, (1, 1, 3, 1), (1, 1), dtype=DType.FLOAT32)
    compare(one, [rows], expect="run")


def test_maximum_of_nothing_is_the_lowest_value():
    for dtype in DTYPES:
        one = model(NAME, (1, 2, 2, 1), (1, 1), stride=(3, 3), out=(2, 2), dtype=dtype)
        compare(one, expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": (0.05, 0.0501)},
        {"points": (3, 4)},
        {"dtype": DType.UINT8},
        {"dtype": DType.INT32},
    ],
)
def test_refusals(changes):
    compare(model(NAME, **changes), expect="refuse")


def test_scales_may_differ_by_a_millionth():
    compare(model(NAME, scales=(0.05, 0.0500009)), expect="run")
