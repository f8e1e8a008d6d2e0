"""SIN against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("spread", [0.1, 30.0, 1e5, 1e20])
def test_float32(spread):
    values = floats(1, 20000, spread=spread)
    compare(single_model("SIN", DType.FLOAT32, (20000,)), [values], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32, DType.UINT8])
def test_other_types_are_refused(dtype):
    compare(single_model("SIN", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_types_must_agree():
    model = single_model("SIN", DType.FLOAT32, (3,), output=DType.INT32)
    compare(model, rows=1, expect="refuse")
