"""ADD_N against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.elementwise import POINTS, SCALES, floats, operand
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


def model(dtype, count, shape, scales=(0.0, 0.0), points=(0, 0), output_shape=None):
    inputs = [operand(dtype, shape, scales[0], points[0]) for _ in range(count)]
    output = operand(dtype, output_shape or shape, scales[1], points[1])
    return model_of("ADD_N", inputs, [output])


@given(st.integers(2, 6), st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS), st.integers(0, 99))
def test_int8(count, scales, points, seed):
    compare(model(DType.INT8, count, (3, 17), scales, points), seed=seed, expect="run")


@pytest.mark.parametrize("count", [15, 16, 17, 40])
def test_int8_sums_that_wrap(count):
    rows = [np.full((3, 8), value, np.int8) for value in (127, -128, 5)]
    inputs = [np.stack(rows)] * count
    compare(model(DType.INT8, count, (3, 8), (0.1, 0.9), (-128, 3)), inputs, expect="run")


@pytest.mark.parametrize("count", [2, 3, 7])
def test_float32(count):
    inputs = [floats(1, 500, seed=seed) for seed in range(count)]
    compare(model(DType.FLOAT32, count, (500,)), inputs, expect="run")


def test_float32_of_minus_zeros_is_zero():
    inputs = [np.full((1, 4), -0.0, np.float32)] * 2
    compare(model(DType.FLOAT32, 2, (4,)), inputs, expect="run")


def test_constant_and_repeated_inputs():
    x = operand(DType.INT8, (4,), 0.1, 3)
    one = operand(DType.INT8, (4,), 0.1, 3, data=np.array([1, -128, 127, 3]))
    out = operand(DType.INT8, (4,), 0.3, 3)
    compare(model_of("ADD_N", [x, one, x], [out]), expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.INT32, DType.UINT8])
def test_other_types_are_refused(dtype):
    compare(model(dtype, 2, (3,), (0.1, 0.1)), rows=1, expect="refuse")


@pytest.mark.parametrize(
    "second",
    [
        operand(DType.INT8, (4,), 0.1, 3),
        operand(DType.INT8, (3,), 0.2, 3),
        operand(DType.INT8, (3,), 0.1, 4),
        operand(DType.FLOAT32, (3,)),
    ],
)
def test_inputs_must_agree(second):
    first, out = operand(DType.INT8, (3,), 0.1, 3), operand(DType.INT8, (3,), 0.3)
    compare(model_of("ADD_N", [first, second], [out]), rows=1, expect="refuse")


def test_one_input_is_refused():
    compare(model(DType.FLOAT32, 1, (3,)), rows=1, expect="refuse")


def test_pointers_of_a_microcontroller_take_half_the_scratch():
    for build, width in ((TflmBuild.firmware(), 4), (TflmBuild.wheel(), 8)):
        node = prepare_model(model(DType.FLOAT32, 5, (3,)), build).nodes[0][0]
        assert node.scratch_bytes == (5 * width,)


@pytest.mark.parametrize("scales", [(0.0, 0.1), (0.1, 0.0), (1.0, 2.0**-20)])
def test_scales_that_would_end_tflm(scales):
    with pytest.raises((InvalidModelError, UnsupportedError)):
        Interpreter(model(DType.INT8, 2, (3,), scales))
