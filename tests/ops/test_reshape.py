"""RESHAPE against the real TFLM."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, output, *, x=DType.INT8, y=None, shape_input=None, extra=()):
    """A RESHAPE of `shape` into `output`."""
    inputs = [tensor(x, shape)]
    if shape_input is not None:
        inputs.append(shape_input)
    return model_of(
        "RESHAPE",
        [*inputs, *extra],
        [tensor(y or x, output)],
        {"new_shape": list(output)},
    )


@given(
    st.lists(st.integers(1, 4), max_size=5),
    st.data(),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT64, DType.FLOAT32, DType.BOOL]),
)
def test_any_shape(shape, data, dtype):
    rest, output = math.prod(shape), []
    while rest > 1:
        size = data.draw(st.sampled_from([n for n in range(2, rest + 1) if rest % n == 0]))
        output.append(size)
        rest //= size
        if data.draw(st.booleans()):
            output.append(1)
    compare(model(tuple(shape), tuple(output), x=dtype), expect="run")


def test_shape_input_is_not_read():
    wrong = tensor(DType.INT32, (1,), data=np.array([7]))
    compare(model((2, 3), (6,), shape_input=wrong), expect="run")


def test_computed_shape_input():
    compare(model((2, 3), (6,), shape_input=tensor(DType.INT32, (1,))), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((2, 3), (5,)),
        model((2, 3), (6,), y=DType.UINT8),
        model((2, 3), (6,), extra=[tensor(DType.INT32, (1,)), tensor(DType.INT32, (1,))]),
    ],
    ids=["other size", "other type", "3 inputs"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_legacy_scalar():
    """TFLM writes a new shape into the model here."""
    with pytest.raises(InvalidModelError, match="legacy"):
        prepare_model(model((1,), (0,)), TflmBuild())


@pytest.mark.parametrize(("rank", "expect"), [(8, "run"), (9, "refuse")])
def test_rank_of_the_option(rank, expect):
    options = {"new_shape": (1,) * rank}
    one = model_of("RESHAPE", [tensor(DType.INT8, (1,))], [tensor(DType.INT8, (1, 1))], options)
    compare(one, expect=expect)


def test_an_int4_constant():
    """TFLM copies a byte for each value, which is more than the constant has."""
    x = tensor(DType.INT4, (2, 3), data=np.arange(6).reshape(2, 3))
    one = model_of("RESHAPE", [x], [tensor(DType.INT4, (6,))], {"new_shape": (6,)})
    with pytest.raises(InvalidModelError, match="int4"):
        prepare_model(one, TflmBuild())
