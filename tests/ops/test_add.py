"""ADD against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    ACTIVATIONS,
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

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("ADD", DType.INT8, shapes, **INT8), expect="run")


@given(
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS, POINTS),
    ACTIVATIONS,
)
def test_int8_all_pairs(scales, points, activation):
    model = pair_model(
        "ADD", DType.INT8, PAIR_SHAPES, scales=scales, points=points, activation=activation
    )
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 2.0**-10, 2.0**10])
@pytest.mark.parametrize("points", [(-128, 127, 0), (127, 127, -128), (0, 0, 127)])
def test_scales_that_are_powers_of_two_round_on_ties(ratio, points):
    model = pair_model(
        "ADD",
        DType.INT8,
        PAIR_SHAPES,
        scales=(0.25 * ratio, 0.25, 0.5),
        points=points,
        activation=0,
    )
    compare(model, every_pair(), expect="run")


@given(broadcast_shapes(), st.integers(0, 9), st.booleans())
def test_broadcast(shapes, seed, constant):
    values = np.random.default_rng(seed).integers(-128, 128, shapes[1])
    compare(
        pair_model("ADD", DType.INT8, shapes, constant=values if constant else None, **INT8),
        seed=seed,
        expect="run",
    )


@given(
    broadcast_shapes(),
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(*[st.integers(-32768, 32767)] * 3),
    ACTIVATIONS,
    st.integers(0, 9),
)
def test_int16(shapes, scales, points, activation, seed):
    model = pair_model(
        "ADD", DType.INT16, shapes, scales=scales, points=points, activation=activation
    )
    compare(model, seed=seed, expect="run")


@pytest.mark.parametrize("scales", [(0.7, 0.9, 1.7), (0.013, 0.4, 0.8), (0.31, 0.3, 0.55)])
def test_int16_many_values(scales):
    """Enough of them to tell multipliers from doubles and from float32 steps."""
    shape = (30000,)
    compare(pair_model("ADD", DType.INT16, (shape,) * 3, scales=scales, activation=0), expect="run")


def test_int32_ignores_the_activation():
    for shapes in SHAPES:
        compare(pair_model("ADD", DType.INT32, shapes, activation=1), expect="run")


def test_quantized_int32_is_refused():
    model = pair_model("ADD", DType.INT32, SHAPES[1], scales=(0.1, 0, 0), activation=0)
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize("activation", range(5))
def test_float32(activation):
    model = pair_model("ADD", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)), activation=activation)
    compare(model, [floats(1, 97, 1), floats(1, 1, 89, seed=1)], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT64, DType.BOOL])
def test_other_types_are_refused(dtype):
    model = pair_model("ADD", dtype, SHAPES[1], scales=(0.1, 0.1, 0.1), activation=0)
    compare(model, rows=1, expect="refuse")


def test_a_tensor_added_to_itself():
    x = operand(DType.INT8, (1, 64), 0.1, 3)
    out = operand(DType.INT8, (1, 64), 0.15, -3)
    compare(model_of("ADD", [x, x], [out], {"fused_activation_function": 1}), expect="run")


@pytest.mark.parametrize(
    ("shapes", "scales"),
    [
        (((2, 3), (2, 4), (2, 3)), (0.1, 0.1, 0.1)),
        (((3,), (3,), (3,)), (0.1, 0.1, 0.0)),
        (((3,), (3,), (3,)), (0.0, 0.0, 0.1)),
        (((3,), (3,), (3,)), (0.0, 0.1, 0.1)),
        (((3,), (3,), (3,)), (1.0, 1.0, 2.0**-20)),
    ],
)
def test_models_that_would_end_tflm(shapes, scales):
    with pytest.raises((InvalidModelError, UnsupportedError)):
        Interpreter(pair_model("ADD", DType.INT8, shapes, scales=scales, activation=0))
