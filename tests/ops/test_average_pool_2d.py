"""AVERAGE_POOL_2D against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor
from tests.ops.pooling import DTYPES, PAIRS, SIZES, VALID, model

pytestmark = pytest.mark.oracle

NAME = "AVERAGE_POOL_2D"


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


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_averages_at_each_half(count):
    """Every sum from the lowest to the highest, halves of both signs."""
    sums = np.arange(-128 * count, 127 * count + 1)
    whole, rest = np.divmod(sums, count)
    rows = whole[:, None] + (np.arange(count) < rest[:, None])
    assert np.array_equal(rows.sum(1), sums)
    values = rows.astype(np.int8).reshape(-1, 1, 1, count, 1)
    one = model(NAME, (1, 1, count, 1), (1, count), padding=VALID)
    compare(one, [values], expect="run")


def test_float_ends_of_the_range():
    values = np.array([np.inf, -np.inf, 3e38, -3e38, -0.0, 1e-45, 0.0], np.float32)
    rows = np.stack([np.roll(values, i)[:3] for i in (1, 2, 3, 4, 5)]).reshape(-1, 1, 1, 3, 1)
    one = model(NAME, (1, 1, 3, 1), (1, 1), dtype=DType.FLOAT32)
    compare(one, [rows], expect="run")


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


@pytest.mark.parametrize(
    "changes",
    [
        {"image": (1, 5, 6)},
        {"out_dtype": DType.INT16},
        {"options": {"stride_h": 0}},
        {"options": {"filter_width": 0}},
        {"options": {"padding": 9}},
        {"points": (200, 200)},
        {"stride": (7, 7), "out": (3, 3), "taps": (1, 1)},
    ],
)
def test_malformed(changes):
    if "image" in changes:
        x = tensor(DType.INT8, changes["image"], scale=0.1)
        one = model_of(NAME, [x], [x], {}, options_type="Pool2DOptions")
    else:
        one = model(NAME, **changes)
    with pytest.raises(InvalidModelError, match=NAME):
        prepare_model(one, TflmBuild.wheel())
