"""ROUND against the real TFLM."""

import pytest

from refmicro.types import DType
from tests.ops.elementwise import operand
from tests.ops.float_cases import OneTypeCases, RoundingCases
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


class TestRound(RoundingCases, OneTypeCases):
    NAME = "ROUND"

    def test_shapes_must_agree(self):
        x, out = operand(DType.FLOAT32, (2, 3)), operand(DType.FLOAT32, (3, 2))
        compare(model_of("ROUND", [x], [out]), rows=1, expect="refuse")
