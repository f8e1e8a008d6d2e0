"""NEG against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


def test_float32():
    compare(single_model("NEG", DType.FLOAT32, (3, 100)), [floats(2, 3, 100)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.UINT8])
def test_other_types_are_refused(dtype):
    compare(single_model("NEG", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")
