"""LOGICAL_OR against the real TFLM."""

import pytest

from tests.ops.pair_cases import LogicalCases

pytestmark = pytest.mark.oracle


class TestLogicalOr(LogicalCases):
    NAME = "LOGICAL_OR"
