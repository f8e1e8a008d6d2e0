"""ARG_MAX against the real TFLM."""

import pytest

from tests.ops.indices import ArgCases

pytestmark = pytest.mark.oracle


class TestArgMax(ArgCases):
    NAME = "ARG_MAX"
