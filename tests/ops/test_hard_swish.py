"""HARD_SWISH against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import POINTS, every_value, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

POWERS = st.floats(-14, 3)


@given(POWERS, st.floats(-6, 3), st.tuples(POINTS, POINTS))
def test_int8_all_values(power, ratio, points):
    scales = (2.0**power, 2.0 ** (power + ratio))
    model = single_model("HARD_SWISH", DType.INT8, (256,), scales=scales, points=points)
    compare(model, every_value(np.int8), expect="run")


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 3 / 256, 100.0, 1e4])
def test_int8_extreme_scales(scale):
    model = single_model("HARD_SWISH", DType.INT8, (256,), scales=(scale, scale), points=(-5, 9))
    compare(model, every_value(np.int8), expect="run")


@pytest.mark.parametrize(("ratio", "expect"), [(127.0, "run"), (128.0, "refuse"), (1e6, "refuse")])
def test_int8_ratio_of_scales(ratio, expect):
    model = single_model("HARD_SWISH", DType.INT8, (4,), scales=(0.5, 0.5 / ratio))
    compare(model, expect=expect)


def test_float32():
    model = single_model("HARD_SWISH", DType.FLOAT32, (3, 500))
    compare(model, [floats(2, 3, 500)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT16])
def test_other_types_are_refused(dtype):
    compare(single_model("HARD_SWISH", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_output_scale_of_zero():
    with pytest.raises(InvalidModelError):
        Interpreter(single_model("HARD_SWISH", DType.INT8, (3,), scales=(0.1, 0.0)))
