"""Models and cases that ARG_MAX and ARG_MIN share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

CASES = (
    st.lists(st.integers(1, 6), min_size=1, max_size=5)
    .map(tuple)
    .flatmap(lambda s: st.tuples(st.just(s), st.integers(-len(s), len(s) - 1)))
)


def arg_model(
    name,
    shape,
    axis,
    dtype=DType.INT8,
    *,
    out=None,
    axis_type=DType.INT32,
    out_type=DType.INT32,
    computed=False,
    option=None,
):
    """An operator that gives indices along `axis`; `out` overrides the output's shape."""
    if out is None:
        out = tuple(size for i, size in enumerate(shape) if i != axis % len(shape))
    quantized = dtype in (DType.INT8, DType.UINT8, DType.INT16)
    x = tensor(dtype, shape, scale=0.1 if quantized else ())
    where = tensor(axis_type, (1,), data=None if computed else np.array([axis]))
    table = {"output_type": out_type.value if option is None else option}
    return model_of(name, [x, where], [tensor(out_type, out)], table)


class ArgCases:
    """Tests of ARG_MAX and ARG_MIN; `NAME` is the operator's."""

    NAME = ""

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    @given(CASES)
    def test_any_axis(self, dtype, case):
        compare(arg_model(self.NAME, *case, dtype), expect="run")

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    def test_many_results(self, dtype):
        compare(arg_model(self.NAME, (40, 5, 25), 1, dtype), expect="run")

    def test_the_first_of_equal_values(self):
        rows = np.array([[3, 3, 1, 1], [1, 3, 1, 3], [-1, -1, -1, -1]], np.int8)
        compare(arg_model(self.NAME, (4,), 0), [rows], expect="run")

    def test_not_a_number_stays_in_first_place_and_loses_elsewhere(self):
        values = np.array([np.nan, 1.0, np.inf, -np.inf], np.float32)
        rows = np.stack([np.roll(values, i) for i in range(4)])
        compare(arg_model(self.NAME, (4,), 0, DType.FLOAT32), [rows], expect="run")

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
    def test_refusals(self, changes):
        compare(arg_model(self.NAME, (2, 3), 1, **changes), expect="refuse")

    @pytest.mark.parametrize("changes", [{"axis": 2}, {"axis": -3}, {"out": (3,)}])
    def test_malformed(self, changes):
        with pytest.raises(InvalidModelError, match=self.NAME):
            prepare_model(arg_model(self.NAME, (2, 3), **{"axis": 1, **changes}), TflmBuild.wheel())

    def test_computed_axis_is_refused(self):
        with pytest.raises(UnsupportedError, match="constant"):
            prepare_model(arg_model(self.NAME, (2, 3), 1, computed=True), TflmBuild.wheel())
