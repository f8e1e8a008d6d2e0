"""SELECT_V2 against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import floats, operand
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle

SHAPES = [
    ((3, 4), (3, 4), (3, 4), (3, 4)),
    ((), (), (), ()),
    ((1,), (), (1, 1), (1,)),
    ((3, 1), (4,), (), (3, 4)),
    ((), (3, 4), (3, 4), (3, 4)),
    ((2, 1, 1, 3), (4, 1, 3), (1, 4, 5, 1), (2, 4, 5, 3)),
    ((2, 1, 2, 1, 2), (1, 2, 1, 2, 1), (2,), (2, 2, 2, 2, 2)),
    ((2, 1, 2, 1, 2, 1), (1, 2, 1, 2, 1, 2), (2, 1), (2, 2, 2, 2, 2, 2)),
]


def model(dtype, shapes, condition=DType.BOOL, output=None):
    inputs = [operand(condition, shapes[0])] + [operand(dtype, shape) for shape in shapes[1:3]]
    return model_of("SELECT_V2", inputs, [operand(output or dtype, shapes[3])])


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
def test_shapes(shapes, dtype):
    compare(model(dtype, shapes), expect="run")


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.data())
def test_broadcast(full, data):
    shapes = [tuple(size if data.draw(st.booleans()) else 1 for size in full) for _ in range(3)]
    compare(model(DType.INT8, [*shapes, np.broadcast_shapes(*shapes)]), expect="run")


def test_float32_special_values():
    condition = np.random.default_rng(0).integers(0, 2, (1, 200)).astype(np.bool_)
    inputs = [condition, floats(1, 200), floats(1, 200, seed=1)]
    compare(model(DType.FLOAT32, ((200,),) * 4), inputs, expect="run")


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64, DType.UINT8, DType.BOOL])
def test_other_types_are_refused(dtype):
    compare(model(dtype, SHAPES[0]), rows=1, expect="refuse")


def test_the_condition_must_be_bool():
    compare(model(DType.INT8, SHAPES[0], condition=DType.INT8), rows=1, expect="refuse")


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (3, 5), (3, 4), (3, 4)),
        ((3, 1), (4,), (), (3, 5)),
        ((3, 1), (4,), (), (1, 3, 4)),
    ],
)
def test_shapes_that_do_not_broadcast(shapes):
    compare(model(DType.INT8, shapes), rows=1, expect="refuse")


def test_models_that_would_overrun_tflm():
    for shapes, output in (
        (((3,), (3,), (3,), (4,)), None),
        (((3,), (3,), (3,), (3,)), DType.FLOAT32),
        (((1,) * 7,) * 4, None),
    ):
        with pytest.raises((InvalidModelError, UnsupportedError)):
            Interpreter(model(DType.INT8, shapes, output=output))
