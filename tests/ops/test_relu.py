"""RELU against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import POINTS, SCALES, every_value, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS))
def test_int8_all_values(scales, points):
    model = single_model("RELU", DType.INT8, (256,), scales=scales, points=points)
    compare(model, every_value(np.int8), expect="run")


@given(st.tuples(SCALES, SCALES))
def test_int16_all_values(scales):
    model = single_model("RELU", DType.INT16, (65536,), scales=scales)
    compare(model, every_value(np.int16), expect="run")


@pytest.mark.parametrize("points", [(1, 0), (0, 1)])
def test_int16_zero_points_must_be_zero(points):
    model = single_model("RELU", DType.INT16, (3,), scales=(0.1, 0.2), points=points)
    compare(model, rows=1, expect="refuse")


def test_float32():
    compare(single_model("RELU", DType.FLOAT32, (3, 100)), [floats(2, 3, 100)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32, DType.BOOL])
def test_other_types_are_refused(dtype):
    compare(single_model("RELU", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_models_that_tflm_leaves_undefined():
    for model in (
        single_model("RELU", DType.INT8, (3,), scales=(0.1, 0.0)),
        single_model("RELU", DType.INT8, (3,), scales=(1e9, 1e-9)),
        single_model("RELU", DType.INT8, (3,), scales=(0.1, 0.1), output=DType.FLOAT32),
    ):
        with pytest.raises(InvalidModelError):
            Interpreter(model)
