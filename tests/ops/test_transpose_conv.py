"""TRANSPOSE_CONV against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.ops.transpose_conv import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

SAME, VALID = 0, 1
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
FILTERS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
SCALES = st.floats(2.0**-10, 2.0)
POINTS = st.integers(-128, 127)
BIAS = {DType.INT8: DType.INT32, DType.INT16: DType.INT64, DType.FLOAT32: DType.FLOAT32}


def model(
    rng,
    image=(1, 3, 4, 2),
    filters=(3, 3, 2),
    *,
    stride=(2, 2),
    padding=SAME,
    out=None,
    x=DType.INT8,
    bias="usual",
    bias_range=2000,
    per_channel=True,
    scales=(0.05, 0.02, 0.1),
    points=(3, -5),
    activation=0,
    replace=None,
    count=4,
):
    """A TRANSPOSE_CONV; `filters` is (output channels, height, width); `bias` a type, None or
    "usual"; `replace` is {input: tensor}."""
    channels, height, width = filters
    quantized = x is not DType.FLOAT32
    zx, zo = points if x is DType.INT8 else (0, 0)
    number = channels if per_channel else 1
    shape = (channels, height, width, image[3])
    values = rng.integers(-128, 127, shape, endpoint=True)
    values = values if quantized else rng.normal(0, 1, shape)
    scale = [scales[1] * f for f in rng.uniform(0.2, 1, number)]
    if out is None:
        spans = [s * n for s, n in zip(stride, image[1:3], strict=True)]
        more = (
            (0, 0)
            if padding == SAME
            else [max(0, f - s) for f, s in zip(filters[1:], stride, strict=True)]
        )
        out = [span + m for span, m in zip(spans, more, strict=True)]
    bias = BIAS[x] if bias == "usual" else bias
    inputs = [
        tensor(DType.INT32, (4,), data=np.array([image[0], *out, channels])),
        tensor(
            DType.INT8 if quantized else x,
            shape,
            scale=scale if quantized else (),
            zero_point=[0] * number,
            data=values,
        ),
        tensor(x, image, scale=scales[0] if quantized else (), zero_point=zx),
        None
        if bias is None
        else tensor(bias, (channels,), data=rng.integers(-bias_range, bias_range, channels)),
    ]
    for index, item in (replace or {}).items():
        inputs[index] = item
    result = tensor(
        x, (image[0], *out, channels), scale=scales[2] if quantized else (), zero_point=zo
    )
    table = {
        "padding": padding,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "fused_activation_function": activation,
    }
    return model_of("TRANSPOSE_CONV", inputs[:count], [result], table, version=3)


@given(
    st.integers(0, 99),
    SIZES,
    FILTERS,
    PAIRS,
    st.sampled_from([SAME, VALID]),
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_int8(seed, image, filters, stride, padding, scales, points, per_channel, bias, activation):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        stride=stride,
        padding=padding,
        scales=scales,
        points=points,
        per_channel=per_channel,
        bias="usual" if bias else None,
        activation=activation,
    )
    compare(one, expect="run")


@given(
    st.integers(0, 99),
    SIZES,
    FILTERS,
    PAIRS,
    st.sampled_from([DType.INT64, DType.INT16, None]),
    st.integers(0, 3),
)
def test_int16(seed, image, filters, stride, bias, activation):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        stride=stride,
        x=DType.INT16,
        bias=bias,
        scales=(2.0**-12, 0.02, 2.0**-9),
        bias_range=30_000 if bias is DType.INT16 else 2**24,
        activation=activation,
    )
    compare(one, expect="run")


@given(st.integers(0, 99), SIZES, FILTERS, PAIRS, st.sampled_from([SAME, VALID]), st.booleans())
def test_float32(seed, image, filters, stride, padding, bias):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        stride=stride,
        padding=padding,
        x=DType.FLOAT32,
        bias="usual" if bias else None,
        bias_range=3,
        activation=seed % 4,
    )
    compare(one, expect="run")


@pytest.mark.parametrize("x", list(BIAS))
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("out", [(1, 1), (2, 9), (12, 3)])
def test_the_outputs_size_is_what_it_declares(out, padding, x):
    rng = np.random.default_rng(1)
    one = model(rng, out=out, padding=padding, stride=(2, 3), x=x, bias_range=100)
    compare(one, expect="run")


def test_bias_may_be_left_out():
    compare(model(np.random.default_rng(1), count=3), expect="run")


def test_sums_beyond_int32_wrap():
    rng = np.random.default_rng(3)
    compare(model(rng, bias_range=2**31 - 1, points=(-128, 4)), rows=8, expect="run")


def test_blocks_of_images_and_rows_of_a_batch():
    rng = np.random.default_rng(4)
    compare(model(rng, (3, 8, 8, 8), (16, 3, 3)), rows=20, expect="run")


ZEROS = np.zeros((3, 3, 2, 2))


@pytest.mark.parametrize(
    "replace",
    [
        {1: tensor(DType.INT16, (3, 3, 2, 2), scale=0.1, data=ZEROS)},
        {1: tensor(DType.INT8, (3, 3, 2, 2), data=ZEROS)},
        {1: tensor(DType.INT8, (3, 3, 2, 2), scale=[0.1] * 2, zero_point=[0] * 2, data=ZEROS)},
        {2: tensor(DType.UINT8, (1, 3, 4, 2), scale=0.1)},
        {2: tensor(DType.INT8, (1, 3, 4, 2))},
    ],
)
def test_refusals(replace):
    compare(model(np.random.default_rng(1), replace=replace), expect="refuse")


@pytest.mark.parametrize(
    "replace",
    [
        {1: tensor(DType.INT8, (4, 3, 2, 2), scale=0.1, data=np.zeros((4, 3, 2, 2)))},
        {1: tensor(DType.INT8, (3, 3, 4), scale=0.1, data=np.zeros((3, 3, 4)))},
        {2: tensor(DType.INT8, (1, 3, 4, 3), scale=0.1)},
        {2: tensor(DType.INT8, (2, 3, 4, 2), scale=0.1)},
        {3: tensor(DType.INT64, (3,), data=np.zeros(3))},
        {3: tensor(DType.INT32, (2,), data=np.zeros(2))},
    ],
)
def test_malformed(replace):
    with pytest.raises(InvalidModelError, match="TRANSPOSE_CONV"):
        prepare_model(model(np.random.default_rng(1), replace=replace), TflmBuild.wheel())


@pytest.mark.parametrize(
    "replace",
    [{1: tensor(DType.INT8, (3, 3, 2, 2), scale=0.1)}, {3: tensor(DType.INT32, (3,))}],
)
def test_computed_filter_and_bias_are_refused(replace):
    with pytest.raises(UnsupportedError, match="constant"):
        prepare_model(model(np.random.default_rng(1), replace=replace), TflmBuild.wheel())


def test_macs_count_every_input():
    program = prepare_model(model(np.random.default_rng(0)), TflmBuild())
    assert macs(program.nodes[0][0].node) == 3 * 4 * 2 * 3 * 3 * 2
