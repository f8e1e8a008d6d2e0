"""DEQUANTIZE against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import INTEGER_LIMITS, DType
from tests.ops.elementwise import SCALES, every_value, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@given(st.sampled_from([DType.INT8, DType.UINT8, DType.INT16]), SCALES, st.data())
def test_all_values(source, scale, data):
    point = data.draw(st.integers(*INTEGER_LIMITS[source]))
    values = every_value(source.numpy)
    model = single_model(
        "DEQUANTIZE",
        source,
        values[0].shape[1:],
        scales=(scale, 0),
        points=(point, 0),
        output=DType.FLOAT32,
    )
    compare(model, values, expect="run")


@pytest.mark.parametrize("scale", [0.0, 1e-44, 3e38])
def test_extreme_scales(scale):
    model = single_model("DEQUANTIZE", DType.INT8, (256,), scales=(scale, 0), output=DType.FLOAT32)
    compare(model, every_value(DType.INT8.numpy), expect="run")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (DType.INT32, DType.FLOAT32),
        (DType.FLOAT32, DType.FLOAT32),
        (DType.INT8, DType.INT16),
        (DType.INT8, DType.INT8),
    ],
)
def test_other_types_are_refused(source, target):
    model = single_model("DEQUANTIZE", source, (3,), scales=(0.1, 0.1), output=target)
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize("point", [-(2**31), 2**31 - 1])
def test_differences_that_pass_int32_wrap(point):
    model = single_model(
        "DEQUANTIZE",
        DType.INT8,
        (256,),
        scales=(1e30, 0),
        points=(point, 0),
        output=DType.FLOAT32,
    )
    compare(model, every_value(DType.INT8.numpy), expect="run")
