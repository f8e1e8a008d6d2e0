"""RELU6 against the real TFLM."""

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


@given(SCALES, st.tuples(POINTS, POINTS))
def test_int8_all_values(scale, points):
    """The output's parameters do not matter."""
    model = single_model("RELU6", DType.INT8, (256,), scales=(scale, 0.3), points=points)
    compare(model, every_value(np.int8), expect="run")


@given(SCALES, st.integers(-32768, 32767))
def test_int16_all_values(scale, point):
    model = single_model("RELU6", DType.INT16, (65536,), scales=(scale, 0.3), points=(point, 5))
    compare(model, every_value(np.int16), expect="run")


@pytest.mark.parametrize("scale", [1e-9, 12.0, 12.1, 1e30])
def test_extreme_scales(scale):
    model = single_model("RELU6", DType.INT8, (256,), scales=(scale, 0.3), points=(-3, 0))
    compare(model, every_value(np.int8), expect="run")


def test_float32():
    compare(single_model("RELU6", DType.FLOAT32, (3, 100)), [floats(2, 3, 100)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32, DType.BOOL])
def test_other_types_are_refused(dtype):
    compare(single_model("RELU6", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_models_that_tflm_leaves_undefined():
    for model in (
        single_model("RELU6", DType.INT8, (3,), scales=(0.0, 0.1)),
        single_model("RELU6", DType.INT8, (3,), scales=(0.1, 0.1), output=DType.FLOAT32),
    ):
        with pytest.raises(InvalidModelError):
            Interpreter(model)
