"""SignalFilterBankSquareRoot against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.signal import signal_model

pytestmark = pytest.mark.oracle


def model(count, *, output=None, x=DType.UINT64, bits=DType.INT32, y=DType.UINT32, shape=()):
    """Roots of `count` values."""
    inputs = [tensor(x, (count,)), tensor(bits, shape)]
    out = tensor(y, (count,) if output is None else output)
    return signal_model("SignalFilterBankSquareRoot", inputs, [out])


def check(values, bits):
    x = np.array([values], np.uint64)
    compare(model(x.shape[1]), [x, np.array([bits], np.int32)], expect="run")


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(0, 31))
def test_any_values(values, bits):
    check(values, bits)


@given(st.integers(0, 63), st.integers(0, 12))
def test_around_squares_and_powers(power, bits):
    near = [root * root + d for root in (2**power // 3, 2 ** (power // 2)) for d in range(-3, 4)]
    near += [2**power + d for d in range(-9, 9)]
    near += [r * r + r + d for r in (65535, 65536, 2**32 - 1, 2**31) for d in (-1, 0, 1, 2)]
    check([value % 2**64 for value in near], bits)


def test_small_values():
    check(range(3000), 0)


def test_each_row_has_its_own_shift():
    x = np.full((3, 2), 10**12, np.uint64)
    compare(model(2), [x, np.array([0, 5, 31], np.int32)], expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model(3, x=DType.UINT32),
        model(3, bits=DType.INT16),
        model(3, y=DType.INT32),
        model(3, shape=(1,)),
        model(3, output=(1, 3)),
    ],
    ids=["input", "scale", "output", "scale vector", "matrix"],
)
def test_refused(refused):
    inputs = [refused.subgraphs[0].tensors[i] for i in (0, 1)]
    compare(refused, [np.zeros((1, *t.shape), t.dtype.numpy) for t in inputs], expect="refuse")


def test_malformed():
    with pytest.raises(InvalidModelError, match="must hold 3 values"):
        prepare_model(model(3, output=(2,)), TflmBuild())


def test_shift_too_far():
    interpreter = Interpreter(model(1))
    interpreter.set_input(np.array(32, np.int32), 1)
    with pytest.raises(UsageError, match="0 to 31 bits"):
        interpreter.invoke()
