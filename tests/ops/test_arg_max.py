"""ARG_MAX against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare
from tests.ops.indices import CASES, arg_model

pytestmark = pytest.mark.oracle

NAME = "ARG_MAX"


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
@given(CASES)
def test_any_axis(dtype, case):
    compare(arg_model(NAME, *case, dtype), expect="run")


def test_the_first_of_equal_values():
    rows = np.array([[3, 3, 1, 1], [1, 3, 1, 3], [-1, -1, -1, -1]], np.int8)
    compare(arg_model(NAME, (4,), 0), [rows], expect="run")


def test_not_a_number_stays_in_first_place_and_loses_elsewhere():
    values = np.array([np.nan, 1.0, np.inf, -np.inf], np.float32)
    rows = np.stack([np.roll(values, i) for i in range(4)])
    compare(arg_model(NAME, (4,), 0, DType.FLOAT32), [rows], expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": DType.INT16},
        {"dtype": DType.UINT8},
        {"axis_type": DType.INT64},
        {"out_type": DType.INT64},
        {"option": 23},
    ],
)
def test_refusals(changes):
    compare(arg_model(NAME, (2, 3), 1, **changes), expect="refuse")


@pytest.mark.parametrize("changes", [{"axis": 2}, {"axis": -3}, {"out": (3,)}])
def test_malformed(changes):
    with pytest.raises(InvalidModelError, match=NAME):
        prepare_model(arg_model(NAME, (2, 3), **{"axis": 1, **changes}), TflmBuild.wheel())


def test_computed_axis_is_refused():
    with pytest.raises(UnsupportedError, match="constant"):
        prepare_model(arg_model(NAME, (2, 3), 1, computed=True), TflmBuild.wheel())
