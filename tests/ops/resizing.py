"""Models and cases that both resizing operators share."""

import numpy as np
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import model_of, tensor

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
