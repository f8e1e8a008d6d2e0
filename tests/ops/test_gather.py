"""GATHER against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle


def model(
    shape, positions, axis, batch_dims=0, *, x=DType.INT8, constant=None, output=None, y=None
):
    """A GATHER; `positions` is the shape of computed ones, `constant` their values."""
    at = axis + len(shape) if axis < 0 else axis
    front = batch_dims + len(positions) if batch_dims < 0 else batch_dims
    if output is None:
        output = (*shape[:at], *positions[front:], *shape[at + 1 :])
    inputs = [tensor(x, shape), tensor(DType.INT32, positions, data=constant)]
    options = {"axis": axis, "batch_dims": batch_dims}
    return model_of("GATHER", inputs, [tensor(y or x, output)], options)


@given(
    st.data(),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([DType.INT8, DType.FLOAT32]),
)
def test_any_axis(data, rank, positions_rank, constant, dtype):
    sizes = st.integers(1, 4)
    shape = tuple(data.draw(st.lists(sizes, min_size=rank, max_size=rank)))
    axis = data.draw(st.integers(0, rank - 1))
    batch_dims = data.draw(st.integers(0, min(axis, positions_rank)))
    more = data.draw(
        st.lists(sizes, min_size=positions_rank - batch_dims, max_size=positions_rank - batch_dims)
    )
    positions = (*shape[:batch_dims], *more)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.integers(0, shape[axis], (4, *positions), dtype=np.int32)
    free = random_values(tensor(dtype, shape), 4, rng)
    signs = data.draw(st.tuples(st.booleans(), st.booleans()))
    built = model(
        shape,
        positions,
        axis - rank if signs[0] else axis,
        batch_dims - positions_rank if signs[1] and batch_dims < positions_rank else batch_dims,
        x=dtype,
        constant=values[0] if constant else None,
    )
    compare(built, [free] if constant else [free, values], expect="run")


def test_constant_table_with_computed_positions():
    table = tensor(DType.INT8, (5, 3), data=np.arange(15).reshape(5, 3))
    built = model_of(
        "GATHER",
        [table, tensor(DType.INT32, (2,))],
        [tensor(DType.INT8, (2, 3))],
        {"axis": 0, "batch_dims": 0},
    )
    rows = np.array([[0, 4], [3, 3], [1, 2]], np.int32)
    compare(built, [rows], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((3,), (2,), 0, x=DType.INT16, constant=np.zeros(2)),
        model((3,), (2,), 1, output=(2,), constant=np.zeros(2)),
        model((3,), (2,), -2, output=(2,), constant=np.zeros(2)),
        model((3, 2), (3,), 0, 1, output=(3,), constant=np.zeros(3)),
        model((3, 2), (2, 2), 1, 1, output=(3, 2), constant=np.zeros((2, 2))),
        model((3, 2), (), 1, 1, output=(3,), constant=np.zeros(())),
    ],
    ids=["int16", "axis 1", "axis -2", "batch_dims above axis", "batch sizes", "batch_dims"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_positions_must_be_int32():
    inputs = [tensor(DType.INT8, (3,)), tensor(DType.INT64, (1,), data=np.array([1]))]
    built = model_of("GATHER", inputs, [tensor(DType.INT8, (1,))], {"axis": 0, "batch_dims": 0})
    compare(built, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((3,), (2,), 0, constant=np.array([0, 3])),
        model((3,), (2,), 0, constant=np.array([-1, 0])),
        model((3,), (2,), 0, constant=np.zeros(2), output=(3,)),
        model((3,), (2,), 0, constant=np.zeros(2), y=DType.FLOAT32),
    ],
    ids=["too high", "negative", "output shape", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="GATHER"):
        prepare_model(broken, TflmBuild())


def test_computed_positions_outside():
    interpreter = Interpreter(model((3,), (2,), 0))
    interpreter.set_input(np.array([1, 3], np.int32), 1)
    with pytest.raises(UsageError, match="below 3: found 3"):
        interpreter.invoke()
