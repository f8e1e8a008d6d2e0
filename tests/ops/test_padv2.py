"""PADV2 against the real TFLM."""

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.harness import compare, random_values, tensor
from tests.ops.padding import DTYPES, pad_model

pytestmark = pytest.mark.oracle

SHAPE, PAIRS = (2, 3, 2), [(1, 2), (0, 1), (2, 0)]


def model(dtype=DType.INT8, value=None, **changes):
    """A PADV2 of three dimensions."""
    kind = {"options_type": "PadV2Options"}
    return pad_model("PADV2", SHAPE, PAIRS, dtype, value=value, **kind, **changes)


def value_of(dtype, number, shape=(), **quantization):
    """A constant value; quantized types have the model's scale by default."""
    if dtype in (DType.INT8, DType.INT16):
        quantization = {"scale": 0.1, **quantization}
    return tensor(dtype, shape, data=np.full(shape, number), **quantization)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [0, -128, 127])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_constant_value(dtype, number, shape):
    compare(model(dtype, value_of(dtype, number, shape)), expect="run")


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_value_it_is_pad(dtype):
    compare(model(dtype, point=5), expect="run")


@pytest.mark.parametrize("dtype", DTYPES)
def test_computed_value_of_each_row(dtype):
    quantized = dtype in (DType.INT8, DType.INT16)
    one = model(dtype, tensor(dtype, (1,), scale=0.1 if quantized else ()))
    graph = one.subgraphs[0]
    rng = np.random.default_rng(1)
    compare(one, [random_values(graph.tensors[i], 5, rng) for i in graph.inputs], expect="run")


@pytest.mark.parametrize(
    "value",
    [
        value_of(DType.INT16, 3),
        value_of(DType.INT8, 3, (2,)),
        value_of(DType.INT8, 3, zero_point=1),
        value_of(DType.INT8, 3, scale=0.2),
    ],
)
def test_refusals(value):
    compare(model(value=value), expect="refuse")


def test_int16_value_may_have_any_scale():
    value = value_of(DType.INT16, 3, scale=0.7, zero_point=4)
    compare(model(DType.INT16, value), expect="run")
