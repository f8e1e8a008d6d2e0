"""ADD against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import SHAPES, pair_model
from tests.ops.harness import compare
from tests.ops.pair_cases import SumCases

pytestmark = pytest.mark.oracle


class TestAdd(SumCases):
    NAME = "ADD"

    def test_int32_ignores_the_activation(self):
        for shapes in SHAPES:
            compare(pair_model("ADD", DType.INT32, shapes, activation=1), expect="run")

    def test_quantized_int32_is_refused(self):
        model = pair_model("ADD", DType.INT32, SHAPES[1], scales=(0.1, 0, 0), activation=0)
        compare(model, rows=1, expect="refuse")
