"""PAD against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor
from tests.ops.padding import DTYPES, pad_model

pytestmark = pytest.mark.oracle

PAIR = st.tuples(st.integers(0, 3), st.integers(0, 3))
CASES = st.integers(1, 5).flatmap(
    lambda rank: st.tuples(
        st.lists(st.integers(1, 4), min_size=rank, max_size=rank),
        st.lists(PAIR, min_size=rank, max_size=rank),
    )
)


@pytest.mark.parametrize("dtype", DTYPES)
@given(CASES, st.sampled_from([0, -128, 127, 5]))
def test_fills_with_the_zero_point_of_int8_only(dtype, case, point):
    compare(pad_model("PAD", *case, dtype, point=point), expect="run")


def test_a_third_input_is_the_value():
    value = tensor(DType.INT8, (1,), scale=0.1, data=np.array([7]))
    compare(pad_model("PAD", (2, 3), [(1, 0), (0, 2)], value=value), expect="run")


def test_image_style():
    compare(pad_model("PAD", (2, 3, 4, 2), [(0, 0), (1, 2), (0, 3), (0, 0)]), expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": DType.UINT8},
        {"dtype": DType.BOOL},
        {"dtype": DType.INT64},
        {"point": 128},
        {"out": (4, 5)},
        {"shape": (1,) * 6, "pairs": [(0, 0)] * 6},
        {"pairs": [(0, 0)], "out": (2, 3)},
    ],
)
def test_refusals(changes):
    compare(
        pad_model("PAD", **{"shape": (2, 3), "pairs": [(1, 0), (0, 1)], **changes}),
        expect="refuse",
    )


def test_paddings_must_be_constant():
    x, paddings = tensor(DType.INT8, (2, 3), scale=0.1), tensor(DType.INT32, (2, 2))
    compare(model_of("PAD", [x, paddings], [x], {}), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs": [(2, -1), (0, 0)]},
        {"paddings_type": DType.INT64},
        {"out": (1, 2, 3), "pairs": [(0, 0)] * 3},
    ],
)
def test_malformed(changes):
    one = pad_model("PAD", **{"shape": (2, 3), "pairs": [(1, 0), (0, 1)], **changes})
    with pytest.raises(InvalidModelError, match="PAD"):
        prepare_model(one, TflmBuild.wheel())
