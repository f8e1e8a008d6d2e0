"""DEPTH_TO_SPACE against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, block, *, output=None, x=DType.INT8, y=None):
    """A DEPTH_TO_SPACE."""
    if output is None:
        batch, height, width, channels = shape
        output = (batch, height * block, width * block, channels // block // block)
    options = {"block_size": block}
    return model_of("DEPTH_TO_SPACE", [tensor(x, shape)], [tensor(y or x, output)], options)


@given(*(st.integers(1, 4) for _ in range(5)), st.sampled_from([DType.INT8, DType.FLOAT32]))
def test_any_block(batch, height, width, depth, block, dtype):
    compare(model((batch, height, width, depth * block * block), block, x=dtype), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((1, 1, 1, 4), 2, x=DType.INT16),
        model((1, 1, 1, 4), 2, y=DType.FLOAT32),
        model((1, 1, 4), 2, output=(2, 2, 1)),
        model((1, 1, 1, 6), 2, output=(1, 2, 2, 1)),
        model((1, 1, 1, 4), 0, output=(1, 2, 2, 1)),
        model((1, 1, 1, 4), -2, output=(1, 2, 2, 1)),
    ],
    ids=["int16", "two types", "3 dimensions", "depth", "block 0", "block -2"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


def test_malformed():
    with pytest.raises(InvalidModelError, match="DEPTH_TO_SPACE"):
        prepare_model(model((1, 1, 1, 4), 2, output=(1, 1, 2, 2)), TflmBuild())
