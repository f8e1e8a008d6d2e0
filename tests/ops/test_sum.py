"""SUM against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import compare
from tests.ops.reductions import CASES, reduction

pytestmark = pytest.mark.oracle

NAME = "SUM"


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
@given(
    CASES,
    st.booleans(),
    st.tuples(st.floats(2.0**-10, 2.0), st.floats(2.0**-10, 2.0)),
    st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_any_axes(dtype, case, keep_dims, scales, points):
    compare(
        reduction(NAME, *case, dtype, keep_dims=keep_dims, scales=scales, points=points),
        expect="run",
    )


def test_int32_sums_wrap():
    one = reduction(NAME, (70_000, 1), (0,), DType.INT16, scales=(1e-9, 1.0))
    rows = np.full((2, 70_000, 1), 32767, np.int16)
    rows[1] = -32768
    compare(one, [rows], expect="run")


@pytest.mark.parametrize(
    "changes", [{"dtype": DType.INT32}, {"dtype": DType.UINT8}, {"axis_type": DType.INT64}]
)
def test_refusals(changes):
    compare(reduction(NAME, (3, 4), (1,), **changes), expect="refuse")
