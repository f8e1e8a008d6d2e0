"""Models and cases that both resizing operators share."""

import numpy as np
import pytest
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

EITHER = [(False, False), (True, False), (False, True)]
"""align_corners and half_pixel_centers, as both operators take them."""

LONG_AXES = [(1, 100), (7, 300), (300, 7), (33, 96), (2, 1)]

SIZES = st.tuples(*[st.integers(1, 12)] * 4)


def resize_model(
    name,
    image=(1, 3, 4, 2),
    size=(5, 7),
    dtype=DType.INT8,
    *,
    align_corners=False,
    half_pixel_centers=False,
    out=None,
    out_type=None,
    size_tensor=None,
):
    """A resizing operator; `out` overrides the output's shape, `size_tensor` the size."""
    quantized = dtype in (DType.INT8, DType.UINT8, DType.INT16)
    scale = 0.1 if quantized else ()
    where = size_tensor or tensor(DType.INT32, (2,), data=np.array(size))
    out = out or (image[0], *size, image[-1])
    table = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    inputs = [tensor(dtype, image, scale=scale), where]
    return model_of(name, inputs, [tensor(out_type or dtype, out, scale=scale)], table)


class ResizeCases:
    """Tests of both operators; `NAME` is the operator's."""

    NAME = ""

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
    @pytest.mark.parametrize("corners", EITHER)
    def test_an_image_of_many_pixels(self, dtype, corners):
        compare_sizes(self.NAME, dtype, corners, (9, 11, 31, 29))

    @pytest.mark.parametrize("corners", EITHER)
    @pytest.mark.parametrize(("size", "out"), LONG_AXES)
    def test_long_axes(self, size, out, corners):
        """float32 rounding of the scale adds up along an axis."""
        compare_long_axis(self.NAME, size, out, corners)

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": DType.UINT8},
            {"image": (3, 4, 2), "out": (3, 5, 7, 2)},
            {"size_tensor": tensor(DType.INT64, (2,), data=np.array([5, 7]))},
            {"size_tensor": tensor(DType.INT32, (1, 2), data=np.array([[5, 7]]))},
            {"size_tensor": tensor(DType.INT32, (2,))},
        ],
    )
    def test_refusals(self, changes):
        compare(resize_model(self.NAME, **changes), expect="refuse")

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
    def test_malformed(self, changes):
        with pytest.raises(InvalidModelError, match=self.NAME):
            prepare_model(resize_model(self.NAME, **changes), TflmBuild.wheel())


def compare_sizes(name, dtype, corners, sizes):
    """Two images from one size to another."""
    options = dict(zip(("align_corners", "half_pixel_centers"), corners, strict=True))
    model = resize_model(name, (2, *sizes[:2], 3), sizes[2:], dtype, **options)
    compare(model, expect="run")


def compare_long_axis(name, size, out, corners):
    """One image of float32 that is stretched or shrunk along one axis."""
    options = dict(zip(("align_corners", "half_pixel_centers"), corners, strict=True))
    model = resize_model(name, (1, size, 2, 1), (out, 3), DType.FLOAT32, **options)
    compare(model, rows=2, expect="run")
