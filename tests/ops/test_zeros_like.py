"""ZEROS_LIKE against the real TFLM."""

import pytest

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.INT64, DType.FLOAT32])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5)])
def test_zeros(dtype, shape):
    compare(single_model("ZEROS_LIKE", dtype, shape), expect="run")


def test_the_zero_point_does_not_matter():
    model = single_model("ZEROS_LIKE", DType.INT8, (4,), scales=(0.1, 0.1), points=(5, 7))
    compare(model, expect="run")


@pytest.mark.parametrize("dtype", [DType.INT16, DType.UINT8, DType.BOOL])
def test_other_types_are_refused(dtype):
    compare(single_model("ZEROS_LIKE", dtype, (3,)), rows=1, expect="refuse")


def test_another_output_type_would_overrun():
    with pytest.raises(InvalidModelError):
        Interpreter(single_model("ZEROS_LIKE", DType.INT64, (3,), output=DType.INT8))
