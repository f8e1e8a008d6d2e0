"""SHAPE against the real TFLM."""

import pytest

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, output, *, x=DType.INT8, y=DType.INT32, extra=(), out_type=2):
    """A SHAPE of a tensor."""
    options = {"out_type": out_type}
    return model_of("SHAPE", [tensor(x, shape), *extra], [tensor(y, output)], options)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (1, 2, 3, 4), (1,) * 7])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32, DType.BOOL])
def test_dimensions(shape, dtype):
    compare(model(shape, (len(shape),), x=dtype), expect="run")


def test_another_shape_of_the_output():
    compare(model((2, 3), (1, 2)), expect="run")


@pytest.mark.parametrize("out_type", [0, 4, 18])
def test_type_option_is_not_used(out_type):
    compare(model((2, 3), (2,), out_type=out_type), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((2,), (1,), y=DType.INT64),
        model((2,), (1,), extra=[tensor(DType.INT8, (1,))]),
        model((2,), (1,), out_type=-1),
        model((2,), (1,), out_type=100),
    ],
    ids=["int64", "2 inputs", "type -1", "type 100"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize("output", [(1,), (3,)])
def test_malformed(output):
    with pytest.raises(InvalidModelError, match="must hold 2 values"):
        prepare_model(model((2, 3), output), TflmBuild())
