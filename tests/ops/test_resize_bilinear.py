"""RESIZE_BILINEAR against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare
from tests.ops.resizing import EITHER, SIZES, ResizeCases, compare_sizes, resize_model

pytestmark = pytest.mark.oracle

NAME = "RESIZE_BILINEAR"


class TestResizeBilinear(ResizeCases):
    NAME = NAME

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    @pytest.mark.parametrize("corners", EITHER)
    @given(SIZES)
    def test_sizes(self, dtype, corners, sizes):
        compare_sizes(NAME, dtype, corners, sizes)

    @pytest.mark.parametrize(
        "changes", [{"align_corners": True, "half_pixel_centers": True}, {"dtype": DType.INT16}]
    )
    def test_refusals_of_its_own(self, changes):
        compare(resize_model(NAME, **changes), expect="refuse")

    def test_int8_sums_of_every_pair_of_neighbours(self):
        """Means of two values, halves of both signs."""
        low, high = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
        rows = np.stack([low, high], -1).reshape(-1, 1, 1, 2, 1).astype(np.int8)[::37]
        compare(resize_model(NAME, (1, 1, 2, 1), (1, 3), align_corners=True), [rows], expect="run")

    def test_a_scale_that_leads_beyond_the_input_is_refused(self):
        with pytest.raises(InvalidModelError, match="inside the input"):
            prepare_model(resize_model(NAME, (1, 10, 1, 1), (6000, 1)), TflmBuild.wheel())

    @pytest.mark.parametrize("value", [3e38, -0.0])
    def test_float32_at_the_ends_of_its_range(self, value):
        rows = np.full((1, 1, 2, 2, 1), value, np.float32)
        rows[0, 0, 1, 1] = 1
        compare(resize_model(NAME, (1, 2, 2, 1), (3, 3), DType.FLOAT32), [rows], expect="run")
