"""CUMSUM against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops.elementwise import POINTS, SCALES, floats, operand
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle

INT8 = {"scales": (0.1, 0.4), "points": (3, -5)}


def model(dtype, shape, axis, exclusive=False, reverse=False, scales=(0, 0), points=(0, 0)):
    """`axis` None is a second input."""
    data = None if axis is None else np.array([axis])
    inputs = [
        operand(dtype, shape, scales[0], points[0]),
        operand(DType.INT32, (1,), data=data),
    ]
    output = operand(dtype, shape, scales[1], points[1])
    return model_of("CUMSUM", inputs, [output], {"exclusive": exclusive, "reverse": reverse})


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.data(),
    st.booleans(),
    st.booleans(),
    st.tuples(SCALES, SCALES),
    st.tuples(POINTS, POINTS),
)
def test_int8(shape, data, exclusive, reverse, scales, points):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    compare(model(DType.INT8, shape, axis, exclusive, reverse, scales, points), expect="run")


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("value", [127, -128])
def test_int8_sums_that_wrap(exclusive, value):
    values = np.full((1, 2, 49), value, np.int8)
    rows = model(DType.INT8, (2, 49), 1, exclusive, False, (0.1, 2.0), (0, 0))
    compare(rows, [values], expect="run")


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_float32(exclusive, reverse):
    for axis in range(3):
        rows = model(DType.FLOAT32, (5, 7, 6), axis, exclusive, reverse)
        compare(rows, [floats(3, 5, 7, 6)], expect="run")


def test_a_computed_axis_may_differ_from_row_to_row():
    values = np.random.default_rng(0).integers(-128, 128, (5, 3, 4)).astype(np.int8)
    axes = np.array([[0], [1], [-1], [-2], [1]], np.int32)
    compare(model(DType.INT8, (3, 4), None, **INT8), [values, axes], expect="run")
    compare(model(DType.INT8, (3, 4), None, **INT8), [values[1:3], axes[1:3]], expect="run")


@pytest.mark.parametrize("axis", [2, -3])
def test_axes_out_of_range(axis):
    compare(model(DType.INT8, (3, 4), axis, **INT8), rows=1, expect="refuse")
    computed = model(DType.INT8, (3, 4), None, **INT8)
    row = [np.zeros((3, 4), np.int8), np.array([axis], np.int32)]
    assert oracle_run(write_model(computed), [row]).refused is not None
    with pytest.raises(UnsupportedError):
        Interpreter(computed).invoke_batch([array[None] for array in row])


@pytest.mark.parametrize("dtype", [DType.INT16, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(model(dtype, (3, 4), 0, scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_scalars_and_other_shapes_are_refused():
    compare(model(DType.FLOAT32, (), 0), rows=1, expect="refuse")
    x, axis = operand(DType.FLOAT32, (2, 3)), operand(DType.INT32, (), data=np.array(0))
    out = operand(DType.FLOAT32, (3, 2))
    compare(model_of("CUMSUM", [x, axis], [out], {}), rows=1, expect="refuse")
    both = operand(DType.INT32, (2,), data=np.array([0, 1]))
    compare(model_of("CUMSUM", [x, both], [x], {}), rows=1, expect="refuse")
