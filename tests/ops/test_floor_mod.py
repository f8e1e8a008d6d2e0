"""FLOOR_MOD against the real TFLM."""

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.elementwise import pair_model
from tests.ops.harness import compare
from tests.ops.pair_cases import FloorCases

pytestmark = pytest.mark.oracle


class TestFloorMod(FloorCases):
    NAME = "FLOOR_MOD"

    def test_divisors_of_zero_give_nan(self):
        model = pair_model("FLOOR_MOD", DType.FLOAT32, ((5,), (), (5,)))
        for zero in (0.0, -0.0):
            inputs = [np.float32([[1, -2, 0, np.inf, np.nan]]), np.float32([zero])]
            compare(model, inputs, expect="run")
