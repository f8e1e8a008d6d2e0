"""EXP against the real TFLM."""

import pytest

from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import floats, operand, single_model
from tests.ops.harness import compare, model_of

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("spread", [0.01, 3.0, 60.0])
def test_float32(spread):
    model = single_model("EXP", DType.FLOAT32, (20000,))
    compare(model, [floats(1, 20000, spread=spread)], expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.INT32])
def test_other_types_are_refused(dtype):
    compare(single_model("EXP", dtype, (3,), scales=(0.1, 0.1)), rows=1, expect="refuse")


def test_the_refusal_says_what_was_found():
    with pytest.raises(UnsupportedError, match=r"\(EXP\): input must be float32: int8"):
        Interpreter(single_model("EXP", DType.INT8, (3,), scales=(0.1, 0.1)))


def test_shapes_must_agree():
    x, out = operand(DType.FLOAT32, (2, 3)), operand(DType.FLOAT32, (3, 2))
    compare(model_of("EXP", [x], [out]), rows=1, expect="refuse")
