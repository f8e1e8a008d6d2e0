"""SPACE_TO_DEPTH against the real TFLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, block, *, output=None, x=DType.INT8, y=None):
    """A SPACE_TO_DEPTH."""
    if output is None:
        batch, height, width, depth = shape
        output = (batch, height // block, width // block, depth * block * block)
    options = {"block_size": block}
    return model_of("SPACE_TO_DEPTH", [tensor(x, shape)], [tensor(y or x, output)], options)


@given(*(st.integers(1, 4) for _ in range(5)), st.sampled_from([DType.INT8, DType.FLOAT32]))
def test_any_block(batch, height, width, depth, block, dtype):
    compare(model((batch, height * block, width * block, depth), block, x=dtype), expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((1, 2, 2, 1), 2, x=DType.INT16),
        model((1, 2, 2, 1), 2, y=DType.FLOAT32),
        model((2, 2, 1), 2, output=(1, 1, 4)),
        model((1, 3, 2, 1), 2, output=(1, 1, 1, 4)),
        model((1, 2, 3, 1), 2, output=(1, 1, 1, 4)),
    ],
    ids=["int16", "two types", "3 dimensions", "height", "width"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model((1, 2, 2, 1), 2, output=(1, 1, 2, 2)), model((1, 2, 2, 1), 0, output=(1, 1, 1, 4))],
    ids=["output shape", "block 0"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="SPACE_TO_DEPTH"):
        prepare_model(broken, TflmBuild())
