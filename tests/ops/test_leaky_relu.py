"""LEAKY_RELU against the real TFLM."""

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

ALPHAS = st.sampled_from([0.0, 0.1, 0.3, 1.0, 1.7, -0.2, -1.0])


@given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS), ALPHAS)
def test_int8_all_values(scales, points, alpha):
    model = single_model(
        "LEAKY_RELU", DType.INT8, (256,), scales=scales, points=points, options={"alpha": alpha}
    )
    compare(model, every_value(np.int8), expect="run")


@given(st.tuples(SCALES, SCALES), st.tuples(*[st.integers(-32768, 32767)] * 2), ALPHAS)
def test_int16_all_values(scales, points, alpha):
    model = single_model(
        "LEAKY_RELU", DType.INT16, (65536,), scales=scales, points=points, options={"alpha": alpha}
    )
    compare(model, every_value(np.int16), expect="run")


@pytest.mark.parametrize("alpha", [0.1, 2.0, -0.5])
def test_float32(alpha):
    model = single_model("LEAKY_RELU", DType.FLOAT32, (3, 100), options={"alpha": alpha})
    compare(model, [floats(2, 3, 100)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    model = single_model("LEAKY_RELU", dtype, (3,), scales=(0.1, 0.1), options={"alpha": 0.1})
    compare(model, rows=1, expect="refuse")


def test_output_scale_of_zero():
    model = single_model("LEAKY_RELU", DType.INT8, (3,), scales=(0.1, 0.0), options={"alpha": 0.1})
    with pytest.raises(InvalidModelError):
        Interpreter(model)
