"""FLOOR against the real TFLM."""

import pytest

from tests.ops.float_cases import RoundingCases

pytestmark = pytest.mark.oracle


class TestFloor(RoundingCases):
    NAME = "FLOOR"
