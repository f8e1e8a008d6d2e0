"""CEIL against the real TFLM."""

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, operand, single_model
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("spread", [0.1, 4.0, 1e5])
def test_float32(spread):
    values = floats(1, 20000, spread=spread)
    compare(single_model("CEIL", DType.FLOAT32, (20000,)), [values], expect="run")


def test_halves_and_large_values():
    values = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2**23 - 0.5, 2**23 + 1, 1e20, -1e20])
    compare(single_model("CEIL", DType.FLOAT32, (10,)), [values[None]], expect="run")


def test_shapes_must_agree():
    x, out = operand(DType.FLOAT32, (2, 3)), operand(DType.FLOAT32, (3, 2))
    compare(model_of("CEIL", [x], [out]), rows=1, expect="refuse")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32, DType.UINT8])
def test_other_types_are_refused(dtype):
    compare(single_model("CEIL", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_types_must_agree():
    model = single_model("CEIL", DType.FLOAT32, (3,), output=DType.INT32)
    compare(model, rows=1, expect="refuse")
