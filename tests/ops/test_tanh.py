"""TANH against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import OLD_GLIBC, POINTS, SCALES, every_value, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

ALL_INT16 = every_value(np.int16)


@given(SCALES, POINTS)
def test_int8_all_values(scale, point):
    model = single_model("TANH", DType.INT8, (256,), scales=(scale, 1 / 128), points=(point, 0))
    compare(model, every_value(np.int8), expect="run")


@pytest.mark.parametrize("scale", [0.0, 2.0**-28, 2.0**-20, 4.0, 7.9, 8.0, 16.0, 2.0**20, 2.0**34])
def test_int8_extreme_scales(scale):
    for point in (-128, 0, 127):
        model = single_model("TANH", DType.INT8, (256,), scales=(scale, 0.5), points=(point, 7))
        compare(model, every_value(np.int8), expect="run")


@given(st.floats(2.0**-30, 2.0, width=32))
def test_int16_all_values(scale):
    model = single_model("TANH", DType.INT16, (65536,), scales=(scale, 2.0**-15))
    compare(model, ALL_INT16, expect="run")


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-12 * 1.0006, 2.0**-11, 3.0, 6.0, 100.0, 1e-12])
def test_int16_named_scales(scale):
    model = single_model("TANH", DType.INT16, (65536,), scales=(scale, 2.0**-15))
    compare(model, ALL_INT16, expect="run")


@pytest.mark.parametrize(
    ("scales", "points"),
    [((0.1, 2.0**-14), (0, 0)), ((0.1, 2.0**-15), (1, 0)), ((0.1, 2.0**-15), (0, 1))],
)
def test_int16_parameters_that_are_refused(scales, points):
    model = single_model("TANH", DType.INT16, (4,), scales=scales, points=points)
    compare(model, rows=1, expect="refuse")


@OLD_GLIBC
@pytest.mark.parametrize("spread", [0.01, 3.0, 30.0])
def test_float32(spread):
    model = single_model("TANH", DType.FLOAT32, (5000,))
    compare(model, [floats(1, 5000, spread=spread)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(single_model("TANH", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


@pytest.mark.parametrize(("dtype", "scale"), [(DType.INT8, 2.0**40), (DType.INT16, 0.0)])
def test_scales_that_tflm_leaves_undefined(dtype, scale):
    model = single_model("TANH", dtype, (3,), scales=(scale, 2.0**-15))
    with pytest.raises(InvalidModelError):
        Interpreter(model)
