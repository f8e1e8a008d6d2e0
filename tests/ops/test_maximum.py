"""MAXIMUM against the real TFLM."""

import pytest

from tests.ops.pair_cases import ExtremumCases

pytestmark = pytest.mark.oracle


class TestMaximum(ExtremumCases):
    NAME = "MAXIMUM"
