"""MUL against the real TFLM."""

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
    pair_model,
)
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
@pytest.mark.parametrize("rows", [1, 4])
def test_shapes(shapes, rows):
    compare(pair_model("MUL", DType.INT8, shapes, **INT8), rows=rows, expect="run")


@pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
def test_tables_broadcast_as_arithmetic_does(shapes):
    """The table of all pairs takes over only in large batches: both must agree."""
    compare(pair_model("MUL", DType.INT8, shapes, **INT8), rows=3, expect="run")
    model = Interpreter(pair_model("MUL", DType.INT8, shapes, **INT8))
    rng = np.random.default_rng(0)
    small, large = ([], [])
    for shape in shapes[:2]:
        large.append(rng.integers(-128, 128, (140_000, *shape)).astype(np.int8))
        small.append(large[-1][:50])
    assert (model.invoke_batch(small)[0] == model.invoke_batch(large)[0][:50]).all()
    data = model.program.nodes[0][0].data
    assert "table" in vars(data)
    assert (model.invoke_batch(small)[0] == model.invoke_batch(large)[0][:50]).all()


@given(
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS, POINTS),
    ACTIVATIONS,
    st.integers(0, 9),
)
def test_int8_all_pairs(scales, points, activation, seed):
    model = pair_model(
        "MUL", DType.INT8, PAIR_SHAPES, scales=scales, points=points, activation=activation
    )
    compare(model, every_pair(), expect="run")


@given(broadcast_shapes(), st.integers(0, 9), st.booleans())
def test_broadcast(shapes, seed, constant):
    values = np.random.default_rng(seed).integers(-128, 128, shapes[1])
    compare(
        pair_model("MUL", DType.INT8, shapes, constant=values if constant else None, **INT8),
        seed=seed,
        expect="run",
    )


@given(broadcast_shapes(), st.tuples(SCALES, SCALES, SCALES), ACTIVATIONS, st.integers(0, 9))
def test_int16(shapes, scales, activation, seed):
    scales = tuple(scale * 2.0**-8 for scale in scales)
    model = pair_model("MUL", DType.INT16, shapes, scales=scales, activation=activation)
    compare(model, seed=seed, expect="run")


@pytest.mark.parametrize("activation", range(5))
def test_int32(activation):
    for shapes in SHAPES:
        model = pair_model("MUL", DType.INT32, shapes, activation=activation)
        compare(model, expect="run")


@pytest.mark.parametrize("activation", range(5))
def test_float32(activation):
    model = pair_model("MUL", DType.FLOAT32, ((97, 1), (1, 89), (97, 89)), activation=activation)
    compare(model, [floats(1, 97, 1), floats(1, 1, 89, seed=1)], expect="run")


def test_ends_of_the_range():
    """Multipliers above 1 shift left; the largest products still fit."""
    model = pair_model(
        "MUL",
        DType.INT8,
        PAIR_SHAPES,
        scales=(1.0, 1.0, 2.0**-14),
        points=(-128, 127, -128),
        activation=0,
    )
    compare(model, every_pair(), expect="run")


def test_tiny_multiplier_gives_the_zero_point():
    model = pair_model(
        "MUL",
        DType.INT8,
        PAIR_SHAPES,
        scales=(2.0**-60, 2.0**-60, 1.0),
        points=(0, 0, 9),
        activation=0,
    )
    compare(model, every_pair(), expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT64, DType.BOOL])
def test_other_types_are_refused(dtype):
    model = pair_model("MUL", dtype, SHAPES[1], scales=(0.1, 0.1, 0.1), activation=0)
    compare(model, rows=1, expect="refuse")


def test_int16_zero_points_must_be_zero():
    model = pair_model(
        "MUL", DType.INT16, SHAPES[1], scales=(0.1, 0.1, 0.1), points=(0, 1, 0), activation=0
    )
    compare(model, rows=1, expect="refuse")


@pytest.mark.parametrize(
    ("shapes", "scales", "error"),
    [
        (((2, 3), (2, 4), (2, 3)), (0.1, 0.1, 0.1), InvalidModelError),
        (((2, 3), (2, 3), (2, 4)), (0.1, 0.1, 0.1), InvalidModelError),
        (((1,), (1,), (4,)), (0.1, 0.1, 0.1), InvalidModelError),
        (((3,), (3,), (3,)), (0.1, 0.1, 0.0), InvalidModelError),
        (((3,), (3,), (3,)), (1e20, 1e20, 1e-3), InvalidModelError),
        (((1,) * 7, (1,) * 7, (1,) * 7), (0.1, 0.1, 0.1), UnsupportedError),
    ],
)
def test_models_that_would_overrun_tflm(shapes, scales, error):
    with pytest.raises(error):
        Interpreter(pair_model("MUL", DType.INT8, shapes, scales=scales, activation=0))
