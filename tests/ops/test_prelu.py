"""PRELU against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    PAIR_SHAPES,
    POINTS,
    SCALES,
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

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5)}


@given(st.tuples(SCALES, SCALES, SCALES), st.tuples(POINTS, POINTS, POINTS))
def test_int8_all_pairs(scales, points):
    model = pair_model("PRELU", DType.INT8, PAIR_SHAPES, scales=scales, points=points)
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("PRELU", DType.INT8, shapes, **INT8), expect="run")


@given(broadcast_shapes(), st.integers(0, 9))
def test_constant_alpha(shapes, seed):
    alpha = np.random.default_rng(seed).integers(-128, 128, shapes[1])
    compare(pair_model("PRELU", DType.INT8, shapes, constant=alpha, **INT8), expect="run")


@given(
    broadcast_shapes(),
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS, POINTS),
    st.integers(0, 9),
)
def test_int16(shapes, scales, points, seed):
    x, alpha, out = (
        operand(kind, shape, scale, point)
        for kind, shape, scale, point in zip(
            (DType.INT16, DType.INT8, DType.INT16), shapes, scales, points, strict=True
        )
    )
    compare(model_of("PRELU", [x, alpha], [out]), seed=seed, expect="run")


def test_int16_wants_int8_alpha():
    model = pair_model("PRELU", DType.INT16, SHAPES[1], scales=(0.1, 0.1, 0.1))
    compare(model, rows=1, expect="refuse")


def test_float32():
    for shapes in SHAPES:
        compare(pair_model("PRELU", DType.FLOAT32, shapes), expect="run")
    model = pair_model("PRELU", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
    compare(model, [floats(1, 97, 1), floats(1, 1, 89)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(pair_model("PRELU", dtype, SHAPES[1], scales=(0.1,) * 3), rows=1, expect="refuse")


def test_models_that_would_end_or_overrun_tflm():
    shape = (3,)
    x, alpha = operand(DType.INT8, shape, 0.1), operand(DType.FLOAT32, shape)
    for model in (
        pair_model("PRELU", DType.FLOAT32, WIDE_SHAPES[0]),
        pair_model("PRELU", DType.INT8, ((2, 3), (2, 4), (2, 3)), scales=(0.1,) * 3),
        pair_model("PRELU", DType.INT8, SHAPES[1], scales=(0.1, 0.1, 0.0)),
        model_of("PRELU", [x, alpha], [operand(DType.INT8, shape, 0.1)]),
    ):
        with pytest.raises((InvalidModelError, UnsupportedError)):
            Interpreter(model)
