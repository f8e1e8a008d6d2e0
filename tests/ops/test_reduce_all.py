"""REDUCE_ALL against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import compare
from tests.ops.reductions import CASES, reduction

pytestmark = pytest.mark.oracle

NAME = "REDUCE_ALL"


@given(CASES, st.booleans(), st.integers(0, 99))
def test_any_axes(case, keep_dims, seed):
    rng = np.random.default_rng(seed)
    one = reduction(NAME, *case, DType.BOOL, keep_dims=keep_dims)
    compare(one, [rng.random((8, *case[0])) < 0.9], expect="run")


@pytest.mark.parametrize(
    "changes", [{"dtype": DType.INT8}, {"out_dtype": DType.INT8}, {"axis_type": DType.INT64}]
)
def test_refusals(changes):
    compare(reduction(NAME, (3, 4), (1,), **{"dtype": DType.BOOL, **changes}), expect="refuse")
