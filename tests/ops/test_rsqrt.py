"""RSQRT against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops.elementwise import POINTS, SCALES, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS))
def test_int8_all_values(scales, points):
    values = np.arange(points[0], 128).astype(np.int8)
    model = single_model("RSQRT", DType.INT8, values.shape, scales=scales, points=points)
    compare(model, [values[None]], expect="run")


@pytest.mark.parametrize("scales", [(1e-6, 1e-3), (1e-4, 2.0**-8), (2.0**10, 2.0**-3)])
def test_int8_named_scales(scales):
    values = np.arange(-128, 128).astype(np.int8)
    model = single_model("RSQRT", DType.INT8, (256,), scales=scales, points=(-128, -128))
    compare(model, [values[None]], expect="run")


def test_int8_multiplier_comes_from_doubles():
    """Scales at which float32 steps would give another output."""
    scales = (float.fromhex("0x1.3b09eap-3"), float.fromhex("0x1.9a7dfcp-7"))
    model = single_model("RSQRT", DType.INT8, (256,), scales=scales, points=(-128, -128))
    compare(model, [np.arange(-128, 128).astype(np.int8)[None]], expect="run")


def test_int8_below_the_zero_point_fails_in_both():
    model = single_model("RSQRT", DType.INT8, (2,), scales=(0.1, 0.1), points=(-3, 0))
    interpreter = Interpreter(model)
    for values, fails in (([-3, 5], False), ([-4, 5], True)):
        row = np.array(values, np.int8)
        result = oracle_run(write_model(model), [[row]])
        assert (result.refused is not None) is fails
        if fails:
            with pytest.raises(UnsupportedError):
                interpreter.invoke_batch([row[None]])
        else:
            interpreter.invoke_batch([row[None]])


def test_float32():
    model = single_model("RSQRT", DType.FLOAT32, (2000,))
    compare(model, [floats(1, 2000)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(single_model("RSQRT", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


@pytest.mark.parametrize("scales", [(0.0, 0.1), (0.1, 0.0)])
def test_int8_must_be_quantized(scales):
    compare(single_model("RSQRT", DType.INT8, (3,), scales=scales), rows=1, expect="refuse")


def test_scales_that_tflm_leaves_undefined():
    with pytest.raises(InvalidModelError):
        Interpreter(single_model("RSQRT", DType.INT8, (3,), scales=(2.0**40, 1.0)))
