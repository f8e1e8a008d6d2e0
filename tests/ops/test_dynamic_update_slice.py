"""DYNAMIC_UPDATE_SLICE against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle


def model(shape, update, *, start=None, x=DType.INT8, u=None, y=None, kind=DType.INT32, **more):
    """A DYNAMIC_UPDATE_SLICE; `start` gives constant indices."""
    where = tensor(kind, more.get("start_shape", (len(shape),)), data=start)
    inputs = [tensor(x, shape), tensor(u or x, update), where]
    out = tensor(y or x, more.get("output", shape))
    return model_of("DYNAMIC_UPDATE_SLICE", inputs, [out], {})


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.data(),
    st.sampled_from([DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32]),
    st.sampled_from([DType.INT32, DType.INT64]),
    st.booleans(),
)
def test_any_place(shape, data, dtype, kind, constant):
    update = tuple(data.draw(st.integers(1, size)) for size in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    start = rng.integers(-3, 8, (4, len(shape))).astype(kind.numpy)
    built = model(tuple(shape), update, x=dtype, kind=kind, start=start[0] if constant else None)
    values = [random_values(tensor(dtype, s), 4, rng) for s in (tuple(shape), update)]
    compare(built, values if constant else [*values, start], expect="run")


def test_constant_operand():
    operand = tensor(DType.INT8, (4,), data=np.arange(4))
    update, start = tensor(DType.INT8, (2,)), tensor(DType.INT32, (1,))
    built = model_of(
        "DYNAMIC_UPDATE_SLICE", [operand, update, start], [tensor(DType.INT8, (4,))], {}
    )
    values = [np.array([[9, 8], [7, 6]], np.int8), np.array([[0], [1]], np.int32)]
    compare(built, values, expect="run")


@pytest.mark.parametrize(
    "refused",
    [
        model((3,), (1,), x=DType.UINT8),
        model((3,), (1,), u=DType.INT16),
        model((3,), (4,)),
        model((3,), (1, 1)),
        model((3,), (1,), start_shape=(2,)),
        model((3,), (1,), start_shape=(1, 1)),
        model((3,), (1,), kind=DType.INT16),
        model((1,) * 7, (1,) * 7),
        model((), ()),
    ],
    ids=[
        "uint8",
        "two types",
        "too large",
        "rank",
        "indices",
        "matrix",
        "int16 indices",
        "7 dimensions",
        "scalar",
    ],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [model((3,), (1,), y=DType.INT16), model((3,), (1,), output=(4,))],
    ids=["output type", "output size"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="DYNAMIC_UPDATE_SLICE"):
        prepare_model(broken, TflmBuild())
