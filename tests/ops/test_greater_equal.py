"""GREATER_EQUAL against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.comparison import check_all

pytestmark = pytest.mark.oracle

TYPES = [DType.FLOAT32, DType.INT32, DType.INT64, DType.INT8]


@pytest.mark.parametrize(
    "check", check_all("GREATER_EQUAL", TYPES), ids=lambda check: check.__name__
)
def test_greater_equal(check):
    check()
