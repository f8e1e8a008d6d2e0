"""Tests that operators of one float32 input share: a file of an operator inherits them.

`NAME` is the operator's.
"""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.elementwise import floats, single_model
from tests.ops.harness import compare


class FloatCases:
    """Operators that take float32 alone."""

    NAME = ""

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32, DType.UINT8])
    def test_other_types_are_refused(self, dtype):
        model = single_model(self.NAME, dtype, (3,), scales=(0.1, 0.1))
        compare(model, rows=1, expect="refuse")


class OneTypeCases(FloatCases):
    """Those whose Prepare compares the types of input and output."""

    def test_types_must_agree(self):
        model = single_model(self.NAME, DType.FLOAT32, (3,), output=DType.INT32)
        compare(model, rows=1, expect="refuse")


class RoundingCases(FloatCases):
    """CEIL, FLOOR and ROUND."""

    @pytest.mark.parametrize("spread", [0.1, 4.0, 1e5])
    def test_float32(self, spread):
        values = floats(1, 20000, spread=spread)
        compare(single_model(self.NAME, DType.FLOAT32, (20000,)), [values], expect="run")

    def test_halves_and_large_values(self):
        values = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2**23 - 0.5, 2**23 + 1, 1e20, -1e20])
        compare(single_model(self.NAME, DType.FLOAT32, (10,)), [values[None]], expect="run")
