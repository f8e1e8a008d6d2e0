"""QUANTIZE against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import INTEGER_LIMITS, DType
from tests.ops.elementwise import SCALES, every_value, floats, operand, single_model
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

NARROW = [
    (DType.INT8, DType.INT8),
    (DType.INT8, DType.UINT8),
    (DType.INT8, DType.INT16),
    (DType.INT8, DType.INT32),
    (DType.UINT8, DType.INT8),
    (DType.INT16, DType.INT8),
    (DType.INT16, DType.INT16),
    (DType.INT16, DType.INT32),
]
ALL = [DType.FLOAT32, DType.INT32, DType.INT16, DType.INT8, DType.UINT8, DType.INT64, DType.BOOL]


@given(st.sampled_from(NARROW), st.tuples(SCALES, SCALES), st.data())
def test_all_values_of_narrow_types(types, scales, data):
    points = tuple(
        data.draw(st.integers(max(low, -(2**20)), min(high, 2**20)))
        for low, high in (INTEGER_LIMITS[kind] for kind in types)
    )
    values = every_value(types[0].numpy)
    model = single_model(
        "QUANTIZE", types[0], values[0].shape[1:], scales=scales, points=points, output=types[1]
    )
    compare(model, values, expect="run")


@pytest.mark.parametrize(
    ("source", "target"), [(DType.INT8, DType.UINT8), (DType.UINT8, DType.INT8)]
)
def test_a_change_of_sign_only(source, target):
    points = (-5, 123) if source is DType.INT8 else (123, -5)
    model = single_model(
        "QUANTIZE", source, (256,), scales=(0.1, 0.1), points=points, output=target
    )
    compare(model, every_value(source.numpy), expect="run")


@given(st.sampled_from([DType.INT8, DType.INT16]), st.tuples(SCALES, SCALES), st.integers(0, 9))
def test_int32(target, scales, seed):
    model = single_model(
        "QUANTIZE", DType.INT32, (300,), scales=scales, points=(3 * seed, seed), output=target
    )
    compare(model, seed=seed, expect="run")


@pytest.mark.parametrize("target", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("scale", [1e-9, 0.05, 1.0, 1e9])
@pytest.mark.parametrize("point", [-128, 0, 127])
def test_float32(target, scale, point):
    model = single_model(
        "QUANTIZE", DType.FLOAT32, (600,), scales=(0, scale), points=(0, point), output=target
    )
    values = floats(1, 600, spread=100 * scale)
    values[0, 1::7] = (np.arange(values[0, 1::7].size) - 40.5) * np.float32(scale)
    compare(model, [values], expect="run")


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("target", ALL)
def test_types(source, target):
    model = single_model("QUANTIZE", source, (3,), scales=(0.1, 0.2), output=target)
    compare(model, rows=2)


def test_output_must_have_one_scale():
    x = operand(DType.FLOAT32, (1, 2))
    several = tensor(DType.INT8, (1, 2), scale=(0.1, 0.2), zero_point=(0, 0), axis=1)
    for out in (several, operand(DType.INT8, (1, 2))):
        compare(model_of("QUANTIZE", [x], [out]), rows=1, expect="refuse")


def test_output_scale_of_zero():
    model = single_model("QUANTIZE", DType.INT8, (3,), scales=(0.1, 1e-46), output=DType.INT8)
    with pytest.raises(InvalidModelError):
        Interpreter(model)
