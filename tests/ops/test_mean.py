"""MEAN against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, random_values, tensor
from tests.ops.reductions import CASES, reduction

pytestmark = pytest.mark.oracle

NAME = "MEAN"


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


@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (-2, -3), (1, 2, 1), (1,), (0, 3)])
@pytest.mark.parametrize("keep_dims", [True, False])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
def test_images(dtype, keep_dims, axes):
    one = reduction(NAME, (2, 7, 5, 6), axes, dtype, keep_dims=keep_dims, scales=(0.3, 0.007))
    compare(one, rows=20, expect="run")


@pytest.mark.parametrize("shift", [-31, -30, -20, 0, 5, 9])
@pytest.mark.parametrize("terms", [1, 2, 3, 1000])
def test_the_division_takes_what_bits_the_shift_leaves(shift, terms):
    scales = (2.0**shift * 0.7, 1.0)
    compare(reduction(NAME, (terms, 2), (0,), DType.INT16, scales=scales), expect="run")


def test_int32_sums_wrap():
    one = reduction(NAME, (70_000, 1), (0,), DType.INT16)
    rows = np.full((2, 70_000, 1), 32767, np.int16)
    rows[1] = -32768
    compare(one, [rows], expect="run")


def test_scalar_and_empty_axis():
    compare(reduction(NAME, (), (0,), out=()), expect="run")
    axis = tensor(DType.INT32, (), data=np.array(1))
    compare(reduction(NAME, (3, 4), (1,), axis=axis), expect="run")


def test_float_ends_of_the_range():
    one = reduction(NAME, (4, 3), (0,), DType.FLOAT32)
    rng = np.random.default_rng(0)
    rows = random_values(one.subgraphs[0].tensors[0], 4, rng) * np.float32(1e37)
    rows[0, 0] = np.inf
    rows[1, :, 1] = -0.0
    rows[2, :, 2] = 1e-45
    compare(one, [rows], expect="run")


@pytest.mark.parametrize(
    "changes", [{"dtype": DType.INT32}, {"dtype": DType.UINT8}, {"axis_type": DType.INT64}]
)
def test_refusals(changes):
    compare(reduction(NAME, (3, 4), (1,), **changes), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [
        {"out": (4,)},
        {"out_dtype": DType.INT16},
        {"scales": (0.1, 0.0)},
        {"points": (300, 0)},
        {"axis": tensor(DType.INT32, (1,), data=np.array([2]))},
        {"axis": tensor(DType.INT32, (1,), data=np.array([-3]))},
    ],
)
def test_malformed(changes):
    with pytest.raises(InvalidModelError, match=NAME):
        prepare_model(reduction(NAME, (3, 4), (1,), **changes), TflmBuild.wheel())


@pytest.mark.parametrize("out", [(2, 5), (2, 1, 1, 1, 5), (2, 1, 5, 1)])
def test_float_mean_of_images_must_keep_dimensions_where_it_says_so(out):
    one = reduction(NAME, (2, 3, 4, 5), (1, 2), DType.FLOAT32, keep_dims=True, out=out)
    with pytest.raises(InvalidModelError, match="abort"):
        prepare_model(one, TflmBuild.wheel())


def test_computed_axis_is_refused():
    with pytest.raises(UnsupportedError, match="constant"):
        prepare_model(
            reduction(NAME, (3, 4), (1,), axis=tensor(DType.INT32, (1,))), TflmBuild.wheel()
        )
