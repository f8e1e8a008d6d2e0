"""RESIZE_NEAREST_NEIGHBOR against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, tensor
from tests.ops.resizing import SIZES, resize_model

pytestmark = pytest.mark.oracle

NAME = "RESIZE_NEAREST_NEIGHBOR"
OPTIONS = [(False, False), (True, False), (False, True), (True, True)]


def model(*args, **changes):
    """The operator, with changes."""
    return resize_model(NAME, *args, **changes)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
@pytest.mark.parametrize(("align_corners", "half_pixel_centers"), OPTIONS)
@given(SIZES)
def test_sizes(dtype, align_corners, half_pixel_centers, sizes):
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    compare(model((2, *sizes[:2], 3), sizes[2:], dtype, **options), expect="run")


@pytest.mark.parametrize(("align_corners", "half_pixel_centers"), OPTIONS)
@pytest.mark.parametrize(("size", "out"), [(1, 100), (7, 300), (300, 7), (33, 96), (2, 1)])
def test_long_axes(size, out, align_corners, half_pixel_centers):
    """float32 rounding of the scale adds up along an axis."""
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    compare(model((1, size, 2, 1), (out, 3), DType.FLOAT32, **options), rows=2, expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": DType.UINT8},
        {"image": (3, 4, 2), "out": (3, 5, 7, 2)},
        {"size_tensor": tensor(DType.INT64, (2,), data=np.array([5, 7]))},
        {"size_tensor": tensor(DType.INT32, (1, 2), data=np.array([[5, 7]]))},
        {"size_tensor": tensor(DType.INT32, (2,))},
        {"dtype": DType.INT32},
        {"size_tensor": tensor(DType.INT32, (3,), data=np.array([5, 7, 1]))},
    ],
)
def test_refusals(changes):
    compare(model(**changes), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [
        {"out": (1, 5, 6, 2)},
        {"out": (1, 5, 7, 3)},
        {"out_type": DType.FLOAT32},
        {"size": (0, 7), "out": (1, 1, 7, 2)},
        {"size": (-1, 7), "out": (1, 1, 7, 2)},
    ],
)
def test_malformed(changes):
    with pytest.raises(InvalidModelError, match=NAME):
        prepare_model(model(**changes), TflmBuild.wheel())
