"""SUB against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import SHAPES, pair_model
from tests.ops.harness import compare
from tests.ops.pair_cases import SumCases

pytestmark = pytest.mark.oracle


class TestSub(SumCases):
    NAME = "SUB"

    @pytest.mark.parametrize("activation", range(5))
    def test_int32(self, activation):
        for shapes in SHAPES:
            compare(pair_model("SUB", DType.INT32, shapes, activation=activation), expect="run")

    def test_quantized_int32_is_refused(self):
        for scales in ((0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)):
            model = pair_model("SUB", DType.INT32, SHAPES[1], scales=scales, activation=0)
            compare(model, rows=1, expect="refuse")
