"""REDUCE_MAX against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare
from tests.ops.reductions import CASES, reduction

pytestmark = pytest.mark.oracle

NAME = "REDUCE_MAX"


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
@given(CASES, st.booleans())
def test_any_axes(dtype, case, keep_dims):
    compare(reduction(NAME, *case, dtype, keep_dims=keep_dims), expect="run")


def test_infinities_and_not_a_number_lose_against_the_start():
    """Every order of the three, and each alone."""
    values = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    rows = np.stack([np.roll(values, i)[:3] for i in range(4)] + [np.full(3, v) for v in values])
    compare(reduction(NAME, (3,), (0,), DType.FLOAT32), [rows.astype(np.float32)], expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": DType.INT16},
        {"dtype": DType.BOOL},
        {"axis_type": DType.INT64},
        {"out_dtype": DType.INT16},
        {"scales": (0.1, 0.2)},
        {"points": (1, 2)},
    ],
)
def test_refusals(changes):
    compare(reduction(NAME, (3, 4), (1,), **changes), expect="refuse")


@pytest.mark.parametrize("changes", [{"out": (4,)}, {"axes": (0,), "out": (3,)}])
def test_malformed(changes):
    with pytest.raises(InvalidModelError, match=NAME):
        prepare_model(reduction(NAME, (3, 4), **{"axes": (1,), **changes}), TflmBuild.wheel())
