"""MAXIMUM against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    PAIR_SHAPES,
    SHAPES,
    WIDE_SHAPES,
    broadcast_shapes,
    every_pair,
    floats,
    operand,
    pair_model,
)
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle

INTEGERS = [DType.INT8, DType.INT16, DType.INT32, DType.INT64]


def test_int8_all_pairs():
    """Scales do not matter."""
    model = pair_model("MAXIMUM", DType.INT8, PAIR_SHAPES, scales=(0.1, 0.2, 0.3), points=(1, 2, 3))
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("MAXIMUM", DType.INT16, shapes), expect="run")


@given(st.sampled_from(INTEGERS), broadcast_shapes(), st.integers(0, 9))
def test_integers(dtype, shapes, seed):
    compare(pair_model("MAXIMUM", dtype, shapes), seed=seed, expect="run")


def test_float32():
    model = pair_model("MAXIMUM", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
    compare(model, [floats(1, 97, 1), floats(1, 1, 89)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.BOOL])
def test_other_types_are_refused(dtype):
    compare(pair_model("MAXIMUM", dtype, SHAPES[1]), rows=1, expect="refuse")


def test_models_that_would_overrun_tflm():
    shape = (3,)
    mixed = [operand(DType.INT8, shape), operand(DType.INT32, shape)]
    for model in (
        pair_model("MAXIMUM", DType.INT8, ((2, 3), (2, 4), (2, 3))),
        model_of("MAXIMUM", mixed, [operand(DType.INT32, shape)]),
        model_of("MAXIMUM", mixed[:1], [operand(DType.INT8, shape)]),
    ):
        with pytest.raises(InvalidModelError):
            Interpreter(model)
