"""LOGICAL_AND against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import SHAPES, WIDE_SHAPES, broadcast_shapes, pair_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("LOGICAL_AND", DType.BOOL, shapes), expect="run")


@given(broadcast_shapes(), st.integers(0, 9))
def test_broadcast(shapes, seed):
    compare(pair_model("LOGICAL_AND", DType.BOOL, shapes), seed=seed, expect="run")


def test_types_that_tflm_would_misread():
    for kinds in ((DType.INT8, DType.BOOL), (DType.BOOL, DType.INT8)):
        with pytest.raises(InvalidModelError):
            Interpreter(pair_model("LOGICAL_AND", kinds[0], SHAPES[1], output=kinds[1]))
