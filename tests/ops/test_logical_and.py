"""LOGICAL_AND against the real TFLM."""

import pytest

from tests.ops.pair_cases import LogicalCases

pytestmark = pytest.mark.oracle


class TestLogicalAnd(LogicalCases):
    NAME = "LOGICAL_AND"
