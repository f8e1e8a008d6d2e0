"""LOG_SOFTMAX against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.elementwise import POINTS, floats, operand, single_model
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


def model(dtype, shape, scale=0.1, point=0, output=(1 / 16, 127)):
    quantized = dtype is not DType.FLOAT32
    scales, points = (scale, output[0]), (point, output[1])
    if not quantized:
        scales, points = (0.0, 0.0), (0, 0)
    return single_model("LOG_SOFTMAX", dtype, shape, scales=scales, points=points, options={})


@given(st.integers(1, 70), st.floats(2.0**-20, 8.0, width=32), POINTS, st.integers(0, 99))
def test_int8(depth, scale, point, seed):
    compare(model(DType.INT8, (3, depth), scale, point), seed=seed, expect="run")


@pytest.mark.parametrize("scale", [2.0**-24, 0.001, 0.02, 1 / 16, 0.1, 1.0, 30.0, 100.0])
def test_int8_all_differences(scale):
    values = np.stack([np.full(256, 127), np.arange(-128, 128)], -1).astype(np.int8)
    compare(model(DType.INT8, (256, 2), scale), [values[None]], expect="run")


@pytest.mark.parametrize("depth", [100, 1000, 4000])
def test_int8_long_rows(depth):
    compare(model(DType.INT8, (2, depth), 0.001), expect="run")


@pytest.mark.parametrize("shape", [(7,), (3, 40), (2, 2, 1, 9), (1, 2, 1, 2, 3, 5)])
def test_float32(shape):
    compare(model(DType.FLOAT32, shape), expect="run")


def test_float32_special_values():
    compare(model(DType.FLOAT32, (60, 5)), [floats(1, 60, 5)], expect="run")


@pytest.mark.parametrize("output", [(1 / 16, 126), (0.0625001, 127)])
def test_output_parameters_that_are_refused(output):
    compare(model(DType.INT8, (2, 3), output=output), rows=1, expect="refuse")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(model(dtype, (2, 3)), rows=1, expect="refuse")


def test_shapes_must_agree():
    x, out = operand(DType.FLOAT32, (2, 3)), operand(DType.FLOAT32, (3, 2))
    compare(model_of("LOG_SOFTMAX", [x], [out]), rows=1, expect="refuse")


def test_size_t_of_a_microcontroller():
    for build, size in ((TflmBuild.firmware(), 28), (TflmBuild.wheel(), 40)):
        node = prepare_model(model(DType.INT8, (2, 3)), build).nodes[0][0]
        assert node.persistent_bytes == (size,)


def test_rows_that_would_overflow_tflm():
    with pytest.raises(UnsupportedError):
        Interpreter(model(DType.INT8, (1, 4096))).invoke_batch([np.zeros((1, 1, 4096), np.int8)])


def test_models_that_would_end_tflm():
    with pytest.raises(UnsupportedError):
        Interpreter(model(DType.INT8, (2, 3), 2.0**-27))
    with pytest.raises(InvalidModelError):
        Interpreter(model(DType.INT8, ()))
