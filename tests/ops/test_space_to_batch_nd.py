"""SPACE_TO_BATCH_ND against the real TFLM."""

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


def model(shape, block, paddings, output, *, x=DType.INT8, y=None, **quantization):
    """A SPACE_TO_BATCH_ND; `block` or `paddings` is None where it is computed."""
    spatial = len(shape) - 2
    inputs = [
        tensor(x, shape, **quantization),
        tensor(DType.INT32, (spatial,), data=None if block is None else np.array(block)),
        tensor(DType.INT32, (spatial, 2), data=None if paddings is None else np.array(paddings)),
    ]
    return model_of("SPACE_TO_BATCH_ND", inputs, [tensor(y or x, output, **quantization)])


@st.composite
def blocks(draw, spatial):
    """Shape, block, paddings and the output's shape."""
    batch, depth = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    block = [draw(st.integers(1, 3)) for _ in range(spatial)]
    outer = [draw(st.integers(1, 3)) for _ in range(spatial)]
    shape, paddings = [], []
    for size, count in zip(block, outer, strict=True):
        full = size * count
        front = draw(st.integers(0, full - 1))
        inside = draw(st.integers(1, full - front))
        shape.append(inside)
        paddings.append([front, full - front - inside])
    output = (batch * int(np.prod(block)), *outer, depth)
    return (batch, *shape, depth), block, paddings, output


@given(st.data(), st.sampled_from([1, 2]), st.sampled_from([DType.INT8, DType.FLOAT32]))
def test_any_block(data, spatial, dtype):
    shape, block, paddings, output = data.draw(blocks(spatial))
    compare(model(shape, block, paddings, output, x=dtype), expect="run")


def test_padding_is_zero_and_not_the_zero_point():
    built = model((1, 1, 1, 1), [2, 2], [[0, 1], [1, 0]], (4, 1, 1, 1), scale=0.5, zero_point=9)
    compare(built, expect="run")
    (out,) = Interpreter(built).invoke_batch([np.full((1, 1, 1, 1, 1), 5, np.int8)])
    assert out.reshape(-1).tolist() == [0, 5, 0, 0]


def test_declared_output_decides():
    """Bottom and right paddings are not read."""
    compare(model((1, 3, 3, 1), [2, 2], [[0, 0], [0, 0]], (4, 1, 2, 1)), expect="run")


def test_computed_parameters():
    rng = np.random.default_rng(1)
    values = random_values(tensor(DType.INT8, (1, 2, 2, 1)), 3, rng)
    block = np.array([[2, 2], [2, 2], [4, 1]], np.int32)
    paddings = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]], [[1, 9], [0, 9]]], np.int32)
    built = model((1, 2, 2, 1), None, None, (4, 2, 2, 1))
    compare(built, [values, block, paddings], expect="run")


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
        model((1, 2, 2, 1), [0, 1], [[0, 0], [0, 0]], (1, 2, 2, 1)),
        model((1, 2, 2, 1), [1, 1], [[0, 0], [0, 0]], (1, 2, 2, 2)),
        model((1, 2, 2, 1), [1, 1], [[0, 0], [0, 0]], (1, 2, 2)),
    ],
    ids=["block 0", "depth", "rank"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SPACE_TO_BATCH_ND"):
        prepare_model(broken, TflmBuild())


def test_computed_block_of_zero():
    interpreter = Interpreter(model((1, 2, 2, 1), None, [[0, 0], [0, 0]], (1, 2, 2, 1)))
    with pytest.raises(UsageError, match=r"block_shape \[0, 0\]"):
        interpreter.invoke()
