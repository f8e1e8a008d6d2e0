"""SQUARED_DIFFERENCE against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    PAIR_SHAPES,
    POINTS,
    SCALES,
    SHAPES,
    WIDE_SHAPES,
    broadcast_shapes,
    every_pair,
    floats,
    pair_model,
)
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5)}


@given(st.tuples(SCALES, SCALES, SCALES), st.tuples(POINTS, POINTS, POINTS))
def test_int8_all_pairs(scales, points):
    model = pair_model("SQUARED_DIFFERENCE", DType.INT8, PAIR_SHAPES, scales=scales, points=points)
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("SQUARED_DIFFERENCE", DType.INT8, shapes, **INT8), expect="run")


@given(broadcast_shapes(), st.tuples(SCALES, SCALES, SCALES), st.integers(0, 9))
def test_int16(shapes, scales, seed):
    model = pair_model("SQUARED_DIFFERENCE", DType.INT16, shapes, scales=scales)
    compare(model, seed=seed, expect="run")


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e9])
def test_int16_large_outputs(scale):
    shapes = ((20000,),) * 3
    model = pair_model("SQUARED_DIFFERENCE", DType.INT16, shapes, scales=(1.0, 0.7, scale))
    compare(model, expect="run")


@pytest.mark.parametrize(
    ("dtype", "points"),
    [(DType.INT16, (1, 0, 0)), (DType.INT16, (0, 0, 1)), (DType.INT8, (0, 128, 0))],
)
def test_zero_points_that_are_refused(dtype, points):
    model = pair_model(
        "SQUARED_DIFFERENCE", dtype, SHAPES[1], scales=(0.1, 0.1, 0.1), points=points
    )
    compare(model, rows=1, expect="refuse")


def test_int32_wraps():
    for shapes in SHAPES:
        compare(pair_model("SQUARED_DIFFERENCE", DType.INT32, shapes), expect="run")


def test_float32():
    model = pair_model("SQUARED_DIFFERENCE", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
    compare(model, [floats(1, 97, 1), floats(1, 1, 89)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT64])
def test_other_types_are_refused(dtype):
    model = pair_model("SQUARED_DIFFERENCE", dtype, SHAPES[1], scales=(0.1, 0.1, 0.1))
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize("scales", [(0.1, 0.1, 0.0), (0.0, 0.0, 0.1), (0.1, 0.0, 0.1)])
def test_scales_that_would_end_tflm(scales):
    with pytest.raises((InvalidModelError, UnsupportedError)):
        Interpreter(pair_model("SQUARED_DIFFERENCE", DType.INT8, SHAPES[1], scales=scales))
