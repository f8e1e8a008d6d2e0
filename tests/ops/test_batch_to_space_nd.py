"""BATCH_TO_SPACE_ND against the real TFLM."""

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


def model(shape, block, crops, output, *, x=DType.INT8, y=None):
    """A BATCH_TO_SPACE_ND; `block` or `crops` is None where it is computed."""
    spatial = len(shape) - 2
    inputs = [
        tensor(x, shape),
        tensor(DType.INT32, (spatial,), data=None if block is None else np.array(block)),
        tensor(DType.INT32, (spatial, 2), data=None if crops is None else np.array(crops)),
    ]
    return model_of("BATCH_TO_SPACE_ND", inputs, [tensor(y or x, output)])


@st.composite
def blocks(draw, spatial):
    """Shape, block, crops and the output's shape."""
    batch, depth = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    block = [draw(st.integers(1, 3)) for _ in range(spatial)]
    inner = [draw(st.integers(1, 3)) for _ in range(spatial)]
    output, crops = [], []
    for size, count in zip(block, inner, strict=True):
        full = size * count
        front = draw(st.integers(0, full - 1))
        kept = draw(st.integers(1, full - front))
        output.append(kept)
        crops.append([front, full - front - kept])
    shape = (batch * int(np.prod(block)), *inner, depth)
    return shape, block, crops, (batch, *output, depth)


@given(st.data(), st.sampled_from([1, 2]), st.sampled_from([DType.INT8, DType.FLOAT32]))
def test_any_block(data, spatial, dtype):
    shape, block, crops, output = data.draw(blocks(spatial))
    compare(model(shape, block, crops, output, x=dtype), expect="run")


def test_computed_parameters():
    values = random_values(tensor(DType.INT8, (4, 1, 2, 1)), 3, np.random.default_rng(1))
    block = np.array([[2, 2], [2, 2], [1, 4]], np.int32)
    crops = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]], [[0, 9], [5, 9]]], np.int32)
    built = model((4, 1, 2, 1), None, None, (1, 1, 3, 1))
    compare(built, [values, block, crops], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((1, 2, 2, 1), [1, 1], [[0, 0], [0, 0]], (1, 2, 2, 1), x=DType.INT16),
        model((1, 2, 2, 1), [1, 1], [[0, 0], [0, 0]], (1, 2, 2, 1), y=DType.FLOAT32),
        model((2, 2), [], np.zeros((0, 2)), (2, 2)),
    ],
    ids=["int16", "two types", "2 dimensions"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((4, 1, 1, 1), [2, 2], [[0, 0], [0, 0]], (2, 2, 2, 1)),
        model((4, 1, 1, 1), [2, 2], [[1, 0], [0, 0]], (1, 2, 2, 1)),
        model((4, 1, 1, 1), [2, 2], [[-1, 0], [0, 0]], (1, 2, 2, 1)),
        model((4, 1, 1, 1), [2, 2], [[0, 0], [0, 0]], (1, 2, 3, 1)),
        model((4, 1, 1, 1), [2, 0], [[0, 0], [0, 0]], (1, 2, 2, 1)),
        model((4, 1, 1, 1), [2, 2], [[0, 0], [0, 0]], (1, 2, 2, 2)),
    ],
    ids=["batches", "crop", "negative crop", "width", "block 0", "depth"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="BATCH_TO_SPACE_ND"):
        prepare_model(broken, TflmBuild())


def test_computed_crops_outside():
    interpreter = Interpreter(model((4, 1, 1, 1), [2, 2], None, (1, 2, 2, 1)))
    interpreter.set_input(np.array([[1, 0], [0, 0]], np.int32), 1)
    with pytest.raises(UsageError, match=r"crops from \[1, 0\]"):
        interpreter.invoke()
