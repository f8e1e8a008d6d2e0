"""LESS against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.comparison import check_all

pytestmark = pytest.mark.oracle

TYPES = [DType.FLOAT32, DType.INT32, DType.INT64, DType.INT8]


@pytest.mark.parametrize("check", check_all("LESS", TYPES), ids=lambda check: check.__name__)
def test_less(check):
    check()
