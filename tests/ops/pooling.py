"""Models and cases that the pooling operators share."""

from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import model_of, tensor

SAME, VALID = 0, 1
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
DTYPES = [DType.INT8, DType.INT16, DType.FLOAT32]


def model(
    name,
    image=(1, 5, 6, 3),
    taps=(2, 3),
    *,
    stride=(1, 1),
    padding=SAME,
    out=None,
    dtype=DType.INT8,
    activation=0,
    scales=(0.05, 0.05),
    points=(3, 3),
    out_dtype=None,
    options=None,
):
    """One pooling operator."""
    if out is None:
        out = [
            -(-image[i + 1] // stride[i])
            if padding == SAME
            else max(1, (image[i + 1] - taps[i]) // stride[i] + 1)
            for i in (0, 1)
        ]
    quantized = dtype is not DType.FLOAT32
    x, y = (
        tensor(kind, shape, scale=scale if quantized else (), zero_point=point)
        for kind, shape, scale, point in zip(
            (dtype, out_dtype or dtype),
            (image, (image[0], *out, image[3])),
            scales,
            points,
            strict=True,
        )
    )
    table = {
        "padding": padding,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "filter_height": taps[0],
        "filter_width": taps[1],
        "fused_activation_function": activation,
        **(options or {}),
    }
    return model_of(name, [x], [y], table, options_type="Pool2DOptions")
