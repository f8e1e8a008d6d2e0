"""FLOOR_DIV against the real TFLM."""

import numpy as np
import pytest

from refmicro.bridge import oracle_run
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops.elementwise import SHAPES, pair_model
from tests.ops.pair_cases import FloorCases

pytestmark = pytest.mark.oracle


class TestFloorDiv(FloorCases):
    NAME = "FLOOR_DIV"

    @pytest.mark.parametrize("zero", [0.0, -0.0])
    def test_divisors_of_zero_fail_in_both(self, zero):
        model = pair_model("FLOOR_DIV", DType.FLOAT32, SHAPES[1])
        row = [np.ones(7, np.float32), np.float32([1, 2, 3, zero, 5, 6, 7])]
        assert oracle_run(write_model(model), [row]).refused is not None
        with pytest.raises(UnsupportedError):
            Interpreter(model).invoke_batch([array[None] for array in row])
