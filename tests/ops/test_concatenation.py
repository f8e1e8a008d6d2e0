"""CONCATENATION against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle

QUANTIZED = {"scale": 0.1, "zero_point": -3}


def model(inputs, output, axis, activation=0):
    """A CONCATENATION of tensors."""
    options = {"axis": axis, "fused_activation_function": activation}
    return model_of("CONCATENATION", inputs, [output], options)


def of_shapes(shapes, total, axis, dtype=DType.INT8, **more):
    """One of free inputs of `shapes`."""
    return model([tensor(dtype, s, **more) for s in shapes], tensor(dtype, total, **more), axis)


@given(st.data(), st.integers(1, 5), st.sampled_from([DType.INT8, DType.INT16, DType.BOOL]))
def test_any_axis(data, rank, dtype):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    axis = data.draw(st.integers(0, rank - 1))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=10))
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    total = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
    negative = data.draw(st.booleans())
    compare(of_shapes(shapes, total, axis - rank if negative else axis, dtype), expect="run")


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT32, DType.INT64])
def test_other_types(dtype):
    compare(of_shapes([(2, 3), (2, 1)], (2, 4), 1, dtype), expect="run")


def test_constants_join_every_row():
    rng = np.random.default_rng(3)
    fixed = tensor(DType.INT8, (2, 2), data=random_values(tensor(DType.INT8, (2, 2)), 1, rng)[0])
    free = tensor(DType.INT8, (2, 3))
    compare(model([fixed, free, fixed], tensor(DType.INT8, (2, 7)), 1), rows=5, expect="run")


def test_only_constants():
    fixed = tensor(DType.INT8, (2,), data=np.array([1, -2]))
    compare(model([fixed, fixed], tensor(DType.INT8, (4,)), 0), inputs=[], expect="run")


def test_quantized_alike():
    compare(of_shapes([(1, 3), (1, 1)], (1, 4), 1, **QUANTIZED), expect="run")


@pytest.mark.parametrize(
    "output", [{"scale": 0.2, "zero_point": -3}, {"scale": 0.1, "zero_point": -2}, {}]
)
def test_requantization_is_refused(output):
    x = tensor(DType.INT8, (4,), **QUANTIZED)
    compare(model([x, x], tensor(DType.INT8, (8,), **output), 0), expect="refuse")


def test_eleven_inputs_are_refused():
    compare(of_shapes([(1,)] * 10, (10,), 0), expect="run")
    compare(of_shapes([(1,)] * 11, (11,), 0), expect="refuse")


@pytest.mark.parametrize(
    "refused",
    [
        of_shapes([(2,), (2,)], (4,), 0, DType.UINT8),
        of_shapes([(2,), (2,)], (4,), 0, DType.INT16, scale=0.1, zero_point=1),
        model([tensor(DType.INT8, (2,)), tensor(DType.INT16, (2,))], tensor(DType.INT8, (4,)), 0),
        model([tensor(DType.INT8, (2,))], tensor(DType.INT16, (2,)), 0),
        model([tensor(DType.INT8, (2,))], tensor(DType.INT8, (2,)), 0, activation=1),
        model([tensor(DType.INT8, (2,)), None], tensor(DType.INT8, (2,)), 0),
        of_shapes([(1,) * 7], (1,) * 7, 0),
    ],
    ids=["uint8", "int16 zero point", "two types", "output type", "relu", "absent", "7 dimensions"],
)
def test_refused(refused):
    compare(refused, expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        of_shapes([(2, 2), (2, 2)], (2, 5), 1),
        of_shapes([(2, 2), (3, 2)], (2, 4), 1),
        of_shapes([(2, 2), (4,)], (2, 4), 1),
        of_shapes([(2,), (2,)], (4,), 1),
        of_shapes([(2,), (2,)], (4,), -2),
    ],
    ids=["sum", "other dimension", "rank", "axis too high", "axis too low"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="CONCATENATION"):
        prepare_model(broken, TflmBuild())
