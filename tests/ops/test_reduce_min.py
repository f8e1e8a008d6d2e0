"""REDUCE_MIN against the real TFLM."""

import pytest

from tests.ops.reductions import ExtremumCases

pytestmark = pytest.mark.oracle


class TestReduceMin(ExtremumCases):
    NAME = "REDUCE_MIN"
