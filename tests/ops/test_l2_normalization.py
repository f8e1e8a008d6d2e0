"""L2_NORMALIZATION against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import POINTS, floats, operand
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


def model(dtype, shape, point=0, activation=0):
    quantized = dtype is not DType.FLOAT32
    x = operand(dtype, shape, 0.1 if quantized else 0.0, point)
    out = operand(dtype, shape, 1 / 128 if quantized else 0.0, 0)
    options = {"fused_activation_function": activation}
    return model_of("L2_NORMALIZATION", [x], [out], options, options_type="L2NormOptions")


@given(st.integers(1, 70), POINTS, st.integers(0, 99))
def test_int8(depth, point, seed):
    compare(model(DType.INT8, (3, depth), point), seed=seed, expect="run")


def test_int8_all_pairs():
    """Norms from 0 on."""
    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), -1)
    compare(model(DType.INT8, (256, 256, 2)), [pairs[None].astype(np.int8)], expect="run")


def test_int8_sums_that_wrap():
    values = np.full((1, 2, 40000), -128, np.int8)
    compare(model(DType.INT8, (2, 40000), 127), [values], expect="run")


@pytest.mark.parametrize("shape", [(7,), (3, 40), (2, 2, 1, 9)])
def test_float32(shape):
    compare(model(DType.FLOAT32, shape), expect="run")
    tiny = np.full((1, *shape), 1e-9, np.float32)
    compare(model(DType.FLOAT32, shape), [tiny], expect="run")


def test_float32_special_values():
    compare(model(DType.FLOAT32, (60, 5)), [floats(1, 60, 5)], expect="run")


def test_more_than_4_dimensions_are_refused():
    compare(model(DType.FLOAT32, (1, 2, 1, 2, 3)), rows=1, expect="refuse")


@pytest.mark.parametrize("activation", [1, 3])
def test_activations_are_refused(activation):
    compare(model(DType.FLOAT32, (2, 3), activation=activation), rows=1, expect="refuse")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(model(dtype, (2, 3)), rows=1, expect="refuse")


def test_scalars():
    with pytest.raises(InvalidModelError):
        Interpreter(model(DType.FLOAT32, ()))
