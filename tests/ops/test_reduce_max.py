"""REDUCE_MAX against the real TFLM."""

import pytest

from tests.ops.reductions import ExtremumCases

pytestmark = pytest.mark.oracle


class TestReduceMax(ExtremumCases):
    NAME = "REDUCE_MAX"
