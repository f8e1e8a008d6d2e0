"""BROADCAST_ARGS against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UsageError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(first, second, output, kinds=(DType.INT32,) * 3, shapes=None):
    """A BROADCAST_ARGS of vectors of these lengths."""
    shapes = shapes or [(first,), (second,), (output,)]
    a, b, c = (tensor(kind, shape) for kind, shape in zip(kinds, shapes, strict=True))
    return model_of("BROADCAST_ARGS", [a, b], [c])


@given(
    st.lists(st.integers(1, 2**40), min_size=1, max_size=5),
    st.data(),
    st.integers(1, 6),
    st.sampled_from([DType.INT32, DType.INT64]),
)
def test_shapes_that_broadcast(dims, data, output, dtype):
    if dtype is DType.INT32:
        dims = [size % 2**31 for size in dims]
    first = [data.draw(st.sampled_from([1, size])) for size in dims]
    second = [
        size if one == 1 else data.draw(st.sampled_from([1, size]))
        for one, size in zip(first, dims, strict=True)
    ]
    cut = data.draw(st.integers(0, len(dims) - 1))
    values = [np.array([first[cut:]], dtype.numpy), np.array([second], dtype.numpy)]
    built = model(len(dims) - cut, len(dims), output, (dtype,) * 3)
    compare(built, values, expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(1, 1, 1, (DType.INT16,) * 3),
        model(1, 1, 1, (DType.INT32, DType.INT64, DType.INT32)),
        model(1, 1, 1, (DType.INT32, DType.INT32, DType.INT64)),
        model(1, 1, 1, shapes=[(), (1,), (1,)]),
        model(1, 1, 1, shapes=[(1,), (1, 1), (1,)]),
        model(1, 1, 1, shapes=[(1,), (1,), (1, 1)]),
    ],
    ids=["int16", "two types", "output type", "scalar", "matrix", "output matrix"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_shapes_that_do_not_broadcast():
    interpreter = Interpreter(model(1, 1, 1))
    interpreter.set_input(np.array([2], np.int32), 0)
    interpreter.set_input(np.array([3], np.int32), 1)
    with pytest.raises(UsageError, match=r"\[\[2\]\] and \[\[3\]\]"):
        interpreter.invoke()
