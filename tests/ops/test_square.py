"""SQUARE against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, single_model
from tests.ops.float_cases import OneTypeCases
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


class TestSquare(OneTypeCases):
    NAME = "SQUARE"

    @pytest.mark.parametrize("spread", [0.1, 4.0, 1e5])
    def test_float32(self, spread):
        values = floats(1, 20000, spread=spread)
        compare(single_model("SQUARE", DType.FLOAT32, (20000,)), [values], expect="run")
