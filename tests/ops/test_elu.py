"""ELU against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.elementwise import OLD_GLIBC, POINTS, SCALES, every_value, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS))
def test_int8_all_values(scales, points):
    model = single_model("ELU", DType.INT8, (256,), scales=scales, points=points)
    compare(model, every_value(np.int8), expect="run")


@pytest.mark.parametrize("scales", [(1e-30, 1e-30), (1e30, 1e-30), (1e-30, 1e30), (0.0, 0.0)])
def test_int8_extreme_scales(scales):
    model = single_model("ELU", DType.INT8, (256,), scales=scales)
    compare(model, every_value(np.int8), expect="run")


@pytest.mark.parametrize("shape", [(), (5,), (1, 2, 3, 4, 5, 1)])
def test_shapes(shape):
    compare(single_model("ELU", DType.INT8, shape, scales=(0.05, 0.03)), expect="run")


@OLD_GLIBC
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_float32(spread):
    model = single_model("ELU", DType.FLOAT32, (5000,))
    compare(model, [floats(1, 5000, spread=spread)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(single_model("ELU", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_types_must_agree():
    model = single_model("ELU", DType.INT8, (3,), scales=(0.1, 0.1), output=DType.FLOAT32)
    compare(model, rows=1, expect="refuse")
