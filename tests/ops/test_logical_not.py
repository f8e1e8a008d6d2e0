"""LOGICAL_NOT against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5), (1, 1, 2, 3, 1, 2)])
def test_shapes(shape):
    compare(single_model("LOGICAL_NOT", DType.BOOL, shape), expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_other_types_are_refused(dtype):
    compare(single_model("LOGICAL_NOT", dtype, (3,)), rows=1, expect="refuse")


def test_types_must_agree():
    model = single_model("LOGICAL_NOT", DType.BOOL, (3,), output=DType.INT8)
    compare(model, rows=1, expect="refuse")
