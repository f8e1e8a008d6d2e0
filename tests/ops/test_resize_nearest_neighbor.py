"""RESIZE_NEAREST_NEIGHBOR against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given

from refmicro.types import DType
from tests.ops.harness import compare, tensor
from tests.ops.resizing import (
    EITHER,
    LONG_AXES,
    SIZES,
    ResizeCases,
    compare_long_axis,
    compare_sizes,
    resize_model,
)

pytestmark = pytest.mark.oracle

NAME = "RESIZE_NEAREST_NEIGHBOR"

BOTH = (True, True)
"""align_corners and half_pixel_centers together, which this operator alone takes."""


class TestResizeNearestNeighbor(ResizeCases):
    NAME = NAME

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
    @pytest.mark.parametrize("corners", [*EITHER, BOTH])
    @given(SIZES)
    def test_sizes(self, dtype, corners, sizes):
        compare_sizes(NAME, dtype, corners, sizes)

    def test_an_int16_image_of_many_pixels(self):
        compare_sizes(NAME, DType.INT16, BOTH, (9, 11, 31, 29))

    @pytest.mark.parametrize(("size", "out"), LONG_AXES)
    def test_long_axes_with_both_options(self, size, out):
        compare_long_axis(NAME, size, out, BOTH)

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": DType.INT32},
            {"size_tensor": tensor(DType.INT32, (3,), data=np.array([5, 7, 1]))},
        ],
    )
    def test_refusals_of_its_own(self, changes):
        compare(resize_model(NAME, **changes), expect="refuse")
