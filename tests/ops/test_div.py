"""DIV against the real TFLM."""

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
    SHAPES,
    WIDE_SHAPES,
    broadcast_shapes,
    every_pair,
    floats,
    pair_model,
)
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}
RATIOS = st.floats(-8, 8)


@given(st.tuples(RATIOS, RATIOS, RATIOS), st.tuples(POINTS, POINTS, POINTS), ACTIVATIONS)
def test_int8_all_pairs(powers, points, activation):
    """Divisors of 0 and shifts beyond 31 bits among them."""
    a, b, out = (2.0**power for power in powers)
    model = pair_model(
        "DIV",
        DType.INT8,
        PAIR_SHAPES,
        scales=(a, b, a / b * out),
        points=points,
        activation=activation,
    )
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_shapes(shapes):
    compare(pair_model("DIV", DType.INT8, shapes, **INT8), expect="run")


@given(broadcast_shapes(), st.integers(0, 9), ACTIVATIONS)
def test_int32(shapes, seed, activation):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-(2**31), 2**31, (3, *shape)) for shape in shapes[:2])
    b = (b >> rng.integers(0, 31, b.shape)).astype(np.int32)
    b[(b == 0) | (b == -1)] = -3
    model = pair_model("DIV", DType.INT32, shapes, activation=activation)
    compare(model, [a.astype(np.int32), b], expect="run")


@pytest.mark.parametrize(("a", "b"), [(5, 0), (-(2**31), -1)])
def test_int32_divisions_that_would_end_tflm(a, b):
    model = Interpreter(pair_model("DIV", DType.INT32, SHAPES[1], activation=0))
    with pytest.raises(UnsupportedError):
        model.invoke_batch([np.full((1, 7), a, np.int32), np.full((1, 7), b, np.int32)])


@pytest.mark.parametrize("activation", range(5))
def test_float32(activation):
    model = pair_model("DIV", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)), activation=activation)
    compare(model, [floats(1, 97, 1), floats(1, 1, 89, seed=1)], expect="run")


def test_quantized_int32_is_refused():
    for scales in ((0.1, 0, 0), (0, 0.1, 0)):
        model = pair_model("DIV", DType.INT32, SHAPES[1], scales=scales, activation=0)
        compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT16, DType.INT64])
def test_other_types_are_refused(dtype):
    model = pair_model("DIV", dtype, SHAPES[1], scales=(0.1, 0.1, 0.1), activation=0)
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize(
    ("shapes", "scales"),
    [
        (((2, 3), (2, 4), (2, 3)), (0.1, 0.1, 0.1)),
        (((3,), (3,), (3,)), (0.1, 0.1, 0.0)),
        (((3,), (3,), (3,)), (0.1, 0.0, 0.1)),
        (((3,), (3,), (3,)), (1e9, 0.1, 0.1)),
    ],
)
def test_models_that_tflm_leaves_undefined(shapes, scales):
    with pytest.raises(InvalidModelError):
        Interpreter(pair_model("DIV", DType.INT8, shapes, scales=scales, activation=0))
