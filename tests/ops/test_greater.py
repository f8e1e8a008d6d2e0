"""GREATER against the real TFLM."""

import pytest

from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.comparison import check_all
from tests.ops.elementwise import SHAPES, pair_model

pytestmark = pytest.mark.oracle

TYPES = [DType.FLOAT32, DType.INT32, DType.INT64, DType.INT8]


@pytest.mark.parametrize("check", check_all("GREATER", TYPES), ids=lambda check: check.__name__)
def test_greater(check):
    check()


def test_int16_is_refused():
    """TFLM runs it, with multipliers out of memory that nothing has written."""
    model = pair_model("GREATER", DType.INT16, SHAPES[1], scales=(0.1, 0.1, 0.0), output=DType.BOOL)
    with pytest.raises(UnsupportedError):
        Interpreter(model)
