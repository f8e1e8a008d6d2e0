"""ARG_MIN against the real TFLM."""

import pytest

from tests.ops.indices import ArgCases

pytestmark = pytest.mark.oracle


class TestArgMin(ArgCases):
    NAME = "ARG_MIN"
