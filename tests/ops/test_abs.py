"""ABS against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.elementwise import POINTS, SCALES, every_value, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS), st.booleans())
def test_int8_all_values(scales, points, same):
    scales = (scales[0],) * 2 if same else scales
    model = single_model("ABS", DType.INT8, (256,), scales=scales, points=points)
    compare(model, every_value(np.int8), expect="run")


@given(st.tuples(SCALES, SCALES), st.booleans())
def test_int16_all_values(scales, same):
    scales = (scales[0],) * 2 if same else scales
    model = single_model("ABS", DType.INT16, (65536,), scales=scales)
    compare(model, every_value(np.int16), expect="run")


def test_int16_without_quantization():
    model = single_model("ABS", DType.INT16, (65536,))
    compare(model, every_value(np.int16), expect="run")


@pytest.mark.parametrize("points", [(1, 0), (0, 1)])
def test_int16_zero_points_must_be_zero(points):
    model = single_model("ABS", DType.INT16, (3,), scales=(0.1, 0.2), points=points)
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [(DType.INT8, (0.0, 0.1)), (DType.INT8, (0.1, 0.0)), (DType.INT16, (0.1, 0.0))],
)
def test_both_must_be_quantized(dtype, scales):
    compare(single_model("ABS", dtype, (3,), scales=scales), rows=1, expect="refuse")


def test_float32():
    compare(single_model("ABS", DType.FLOAT32, (3, 100)), [floats(2, 3, 100)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32, DType.INT64])
def test_other_types_are_refused(dtype):
    compare(single_model("ABS", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")
