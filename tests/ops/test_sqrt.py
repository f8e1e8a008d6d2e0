"""SQRT against the real TFLM."""

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, single_model
from tests.ops.float_cases import OneTypeCases
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


class TestSqrt(OneTypeCases):
    NAME = "SQRT"

    @pytest.mark.parametrize("spread", [0.1, 4.0, 1e5])
    def test_float32(self, spread):
        values = floats(1, 20000, spread=spread)
        values[:, ::2] = np.abs(values[:, ::2])
        compare(single_model("SQRT", DType.FLOAT32, (20000,)), [values], expect="run")
