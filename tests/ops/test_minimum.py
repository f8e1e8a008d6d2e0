"""MINIMUM against the real TFLM."""

import pytest

from tests.ops.pair_cases import ExtremumCases

pytestmark = pytest.mark.oracle


class TestMinimum(ExtremumCases):
    NAME = "MINIMUM"
