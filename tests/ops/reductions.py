"""Models and cases that the reductions share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
CASES = SHAPES.flatmap(
    lambda shape: st.tuples(
        st.just(shape),
        st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=4).map(tuple),
    )
)


def reduction(
    name,
    shape,
    axes,
    dtype=DType.INT8,
    *,
    keep_dims=False,
    scales=(0.1, 0.1),
    points=(0, 0),
    out=None,
    out_dtype=None,
    axis_type=DType.INT32,
    axis=None,
):
    """A reduction; `out` overrides the output's shape, `axis` the axis tensor."""
    quantized = dtype in (DType.INT8, DType.INT16)
    gone = {axis % len(shape) for axis in axes} if shape else set()
    if out is None:
        if keep_dims:
            out = tuple(1 if i in gone else size for i, size in enumerate(shape))
        else:
            out = tuple(size for i, size in enumerate(shape) if i not in gone)
    x, y = (
        tensor(kind, size, scale=scale if quantized else (), zero_point=point)
        for kind, size, scale, point in zip(
            (dtype, out_dtype or dtype), (shape, out), scales, points, strict=True
        )
    )
    if axis is None:
        axis = tensor(axis_type, (len(axes),), data=np.array(axes))
    table = {"keep_dims": keep_dims}
    return model_of(name, [x, axis], [y], table, options_type="ReducerOptions")


class ExtremumCases:
    """Tests of REDUCE_MAX and REDUCE_MIN; `NAME` is the operator's."""

    NAME = ""

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    @given(CASES, st.booleans())
    def test_any_axes(self, dtype, case, keep_dims):
        compare(reduction(self.NAME, *case, dtype, keep_dims=keep_dims), expect="run")

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    def test_many_results(self, dtype):
        compare(reduction(self.NAME, (20, 5, 9), (1,), dtype), expect="run")

    def test_infinities_and_not_a_number_lose_against_the_start(self):
        """Every order of the three, and each alone."""
        values = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
        rows = np.stack(
            [np.roll(values, i)[:3] for i in range(4)] + [np.full(3, v) for v in values]
        )
        compare(
            reduction(self.NAME, (3,), (0,), DType.FLOAT32), [rows.astype(np.float32)], expect="run"
        )

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
    def test_refusals(self, changes):
        compare(reduction(self.NAME, (3, 4), (1,), **changes), expect="refuse")

    @pytest.mark.parametrize("changes", [{"out": (4,)}, {"axes": (0,), "out": (3,)}])
    def test_malformed(self, changes):
        with pytest.raises(InvalidModelError, match=self.NAME):
            prepare_model(
                reduction(self.NAME, (3, 4), **{"axes": (1,), **changes}), TflmBuild.wheel()
            )
