"""SLICE against the real TFLM."""

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


def model(shape, begin, size, output, *, x=DType.INT8, y=None, indices=DType.INT32):
    """A SLICE; `begin` and `size` are values, or None where they are computed."""
    rank = (len(shape),)
    parts = [
        tensor(indices, rank, data=None if values is None else np.array(values))
        for values in (begin, size)
    ]
    return model_of("SLICE", [tensor(x, shape), *parts], [tensor(y or x, output)], {})


@st.composite
def slices(draw):
    shape = draw(st.lists(st.integers(1, 5), max_size=5))
    begin = [draw(st.integers(0, size - 1)) for size in shape]
    size = [draw(st.integers(1, full - at)) for full, at in zip(shape, begin, strict=True)]
    return tuple(shape), begin, size


@given(
    slices(),
    st.booleans(),
    st.sampled_from([DType.INT32, DType.INT64]),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32, DType.BOOL]),
)
def test_constant_indices(drawn, to_end, indices, dtype):
    shape, begin, size = drawn
    output = tuple(size)
    if to_end:
        size = [-1 if at + n == full else n for at, n, full in zip(begin, size, shape, strict=True)]
    if shape:
        built = model(shape, begin, size, output, x=dtype, indices=indices)
        compare(built, expect="run")


@given(slices(), st.integers(0, 99), st.sampled_from([DType.INT32, DType.INT64]))
def test_computed_begin(drawn, seed, indices):
    shape, _, size = drawn
    rng = np.random.default_rng(seed)
    high = np.array(shape, int) - size + 1
    begins = rng.integers(0, high, (5, len(shape))).astype(indices.numpy)
    if shape:
        values = random_values(tensor(DType.INT8, shape), 5, rng)
        built = model(shape, None, size, tuple(size), indices=indices)
        compare(built, [values, begins], expect="run")


def test_computed_size():
    values = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    size = np.array([[2, 3], [3, 2]], np.int32)
    compare(model((3, 4), [0, 1], None, (6,)), [values, size], expect="run")


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT64])
def test_refused_types(dtype):
    compare(model((3,), [0], [2], (2,), x=dtype), expect="refuse")


def test_refused_index_type():
    compare(model((3,), [0], [2], (2,), indices=DType.INT16), expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((3,), [2], [2], (2,)),
        model((3,), [-1], [2], (2,)),
        model((3,), [0], [2], (3,)),
        model((3,), [0], [2], (2,), y=DType.INT16),
        model((1,) * 6, [0] * 6, [1] * 6, (1,) * 6),
    ],
    ids=["beyond the end", "before the start", "output size", "two types", "6 dimensions"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SLICE"):
        prepare_model(broken, TflmBuild())


def test_computed_begin_outside():
    interpreter = Interpreter(model((3,), None, [2], (2,)))
    interpreter.set_input(np.array([2], np.int32), 1)
    with pytest.raises(UsageError, match=r"begin \[2\], size \[2\]"):
        interpreter.invoke()
