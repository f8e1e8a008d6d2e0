"""L2_POOL_2D against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare
from tests.ops.pooling import PAIRS, SIZES, VALID, model

pytestmark = pytest.mark.oracle

NAME = "L2_POOL_2D"


@given(SIZES, PAIRS, PAIRS, st.sampled_from([0, 1, 2, 3]))
def test_same(image, taps, stride, activation):
    one = model(NAME, image, taps, stride=stride, dtype=DType.FLOAT32, activation=activation)
    compare(one, expect="run")


@pytest.mark.parametrize("taps", [(1, 1), (2, 3), (5, 6)])
def test_valid(taps):
    compare(model(NAME, taps=taps, padding=VALID, dtype=DType.FLOAT32), expect="run")


@pytest.mark.parametrize("changes", [{"dtype": DType.INT8}, {"out_dtype": DType.INT8}])
def test_refusals(changes):
    compare(model(NAME, **{"dtype": DType.FLOAT32, **changes}), expect="refuse")


def test_output_must_be_as_computed():
    with pytest.raises(InvalidModelError, match="height 5 and width 6"):
        prepare_model(model(NAME, dtype=DType.FLOAT32, out=(4, 6)), TflmBuild.wheel())
