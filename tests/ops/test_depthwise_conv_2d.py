"""DEPTHWISE_CONV_2D against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.ops.depthwise_conv_2d import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle

SAME, VALID = 0, 1
SCALES = st.floats(2.0**-10, 2.0)
POINTS = st.integers(-128, 127)
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7), st.integers(1, 5))
FILTERS = st.tuples(st.integers(1, 3), st.integers(1, 4))
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


def model(
    rng,
    image=(1, 5, 6, 3),
    filters=(3, 2),
    multiplier=1,
    *,
    out=None,
    stride=(1, 1),
    dilation=(1, 1),
    padding=SAME,
    x=DType.INT8,
    w=DType.INT8,
    bias=DType.INT32,
    bias_range=2000,
    per_channel=True,
    scales=(0.05, 0.02, 0.1),
    points=(3, -5),
    activation=0,
    computed=(),
    options=None,
):
    """A DEPTHWISE_CONV_2D; `computed` names filter or bias as inputs of the model."""
    channels = image[3] * multiplier
    sx, sw, so = scales
    quantized = x is not DType.FLOAT32
    zx, zo = points if x is DType.INT8 else (0, 0)
    count = channels if per_channel else 1
    low, high = {DType.INT4: (-7, 7), DType.INT8: (-128, 127), DType.FLOAT32: (-9, 9)}[w]
    shape = (1, *filters, channels)
    values = rng.integers(low, high, shape, endpoint=True)
    if w is DType.FLOAT32:
        values = values * rng.normal(0, 1, shape)
    scale = {"scale": [sw * f for f in rng.uniform(0.2, 1, count)], "zero_point": [0] * count}
    inputs = [
        tensor(x, image, scale=sx if quantized else (), zero_point=zx),
        tensor(
            w,
            shape,
            **(scale if quantized else {}),
            axis=3,
            data=None if "filter" in computed else values,
        ),
    ]
    if bias is not None:
        values = rng.integers(-bias_range, bias_range, channels, endpoint=True)
        inputs.append(tensor(bias, (channels,), data=None if "bias" in computed else values))
    if out is None:
        spans = [(filters[i] - 1) * dilation[i] + 1 for i in (0, 1)]
        out = [
            -(-image[i + 1] // stride[i])
            if padding == SAME
            else (image[i + 1] - spans[i]) // stride[i] + 1
            for i in (0, 1)
        ]
    result = tensor(x, (image[0], *out, channels), scale=so if quantized else (), zero_point=zo)
    table = {
        "padding": padding,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "dilation_h_factor": dilation[0],
        "dilation_w_factor": dilation[1],
        "depth_multiplier": multiplier,
        "fused_activation_function": activation,
        **(options or {}),
    }
    kind = {"options_type": "DepthwiseConv2DOptions", "version": 3}
    return model_of("DEPTHWISE_CONV_2D", inputs, [result], table, **kind)


@given(
    st.integers(0, 99),
    SIZES,
    FILTERS,
    st.integers(1, 3),
    PAIRS,
    PAIRS,
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS),
    st.booleans(),
    st.sampled_from([DType.INT32, None]),
    st.sampled_from([0, 1, 2, 3]),
)
def test_int8_same(
    seed, image, filters, multiplier, stride, dilation, scales, points, per_channel, bias, act
):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        multiplier,
        stride=stride,
        dilation=dilation,
        scales=scales,
        points=points,
        per_channel=per_channel,
        bias=bias,
        activation=act,
    )
    compare(one, expect="run")


@given(st.integers(0, 99), FILTERS, PAIRS, PAIRS, st.integers(0, 4), st.integers(0, 4))
def test_int8_valid(seed, filters, stride, dilation, more_rows, more_columns):
    spans = [(filters[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    image = (1, spans[0] + more_rows, spans[1] + more_columns, 2)
    rng = np.random.default_rng(seed)
    compare(
        model(rng, image, filters, stride=stride, dilation=dilation, padding=VALID), expect="run"
    )


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("out", [(1, 1), (2, 5), (9, 8)])
@pytest.mark.parametrize("image", [(1, 4, 5, 2), (1, 1, 2, 2)])
def test_the_outputs_size_is_what_it_declares(image, out, padding):
    rng = np.random.default_rng(5)
    compare(model(rng, image, (3, 4), out=out, padding=padding, stride=(3, 2)), expect="run")


@given(st.integers(0, 99), SIZES, FILTERS, st.integers(1, 3), st.booleans(), st.booleans())
def test_int16(seed, image, filters, multiplier, bias, per_channel):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        multiplier,
        x=DType.INT16,
        bias=DType.INT64 if bias else None,
        per_channel=per_channel,
        scales=(2.0**-12, 0.02, 2.0**-9),
        activation=seed % 4,
        bias_range=2**24,
    )
    compare(one, expect="run")


def test_int16_sums_beyond_int32():
    one = model(
        np.random.default_rng(1),
        (1, 30, 30, 1),
        (27, 27),
        x=DType.INT16,
        bias=DType.INT64,
        scales=(2.0**-12, 0.02, 1.0),
    )
    compare(one, rows=2, expect="run")


@pytest.mark.parametrize("per_channel", [True, False])
def test_int4_filter(per_channel):
    rng = np.random.default_rng(1)
    compare(model(rng, (1, 3, 4, 5), w=DType.INT4, per_channel=per_channel), expect="run")


@given(st.integers(0, 99), SIZES, FILTERS, st.integers(1, 3), PAIRS, PAIRS, st.booleans())
def test_float32(seed, image, filters, multiplier, stride, dilation, bias):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        multiplier,
        stride=stride,
        dilation=dilation,
        x=DType.FLOAT32,
        w=DType.FLOAT32,
        bias=DType.FLOAT32 if bias else None,
        activation=seed % 4,
    )
    compare(one, expect="run")


@pytest.mark.parametrize("computed", [("filter",), ("bias",), ("filter", "bias")])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    ("x", "bias"),
    [(DType.INT8, DType.INT32), (DType.INT16, DType.INT64), (DType.FLOAT32, DType.FLOAT32)],
)
def test_computed_filter_and_bias_of_each_row(computed, x, bias, multiplier):
    rng = np.random.default_rng(2)
    w = DType.FLOAT32 if x is DType.FLOAT32 else DType.INT8
    one = model(rng, (2, 3, 4, 2), (2, 3), multiplier, x=x, w=w, bias=bias, computed=computed)
    graph = one.subgraphs[0]
    rows = [random_values(graph.tensors[i], 5, rng) for i in graph.inputs]
    if "bias" in computed:
        rows[-1] = rng.integers(-9000, 9000, rows[-1].shape).astype(bias.numpy)
    compare(one, rows, expect="run")


def test_sums_beyond_int32_wrap():
    rng = np.random.default_rng(3)
    compare(model(rng, bias_range=2**31 - 1, points=(-128, 4)), rows=8, expect="run")


def test_blocks_of_images_and_rows_of_a_batch():
    rng = np.random.default_rng(4)
    compare(model(rng, (3, 12, 12, 24), (3, 3), stride=(2, 2)), rows=40, expect="run")


def changed(index, replacement, **options):
    """A model with one tensor replaced."""
    one = model(np.random.default_rng(1), **options)
    tensors = list(one.subgraphs[0].tensors)
    tensors[index] = replacement
    op = one.subgraphs[0].operators[0]
    kind = {"options_type": "DepthwiseConv2DOptions"}
    return model_of("DEPTHWISE_CONV_2D", tensors[:-1], tensors[-1:], op.options, **kind)


ZEROS = np.zeros((1, 3, 2, 3))


@pytest.mark.parametrize(
    ("index", "replacement"),
    [
        (0, tensor(DType.INT8, (1, 5, 6, 3))),
        (0, tensor(DType.UINT8, (1, 5, 6, 3), scale=0.1)),
        (0, tensor(DType.FLOAT32, (1, 5, 6, 3))),
        (1, tensor(DType.INT8, (1, 3, 2, 3), data=ZEROS)),
        (1, tensor(DType.INT16, (1, 3, 2, 3), scale=0.1, data=ZEROS)),
        (1, tensor(DType.INT8, (1, 3, 2, 3), scale=[0.1] * 2, zero_point=[0] * 2, data=ZEROS)),
        (
            1,
            tensor(
                DType.INT8, (1, 3, 2, 3), scale=[0.1] * 3, zero_point=[0] * 3, axis=2, data=ZEROS
            ),
        ),
    ],
)
def test_refusals(index, replacement):
    compare(changed(index, replacement), expect="refuse")


@pytest.mark.parametrize(
    ("index", "replacement"),
    [
        (0, tensor(DType.INT8, (1, 5, 18), scale=0.1)),
        (0, tensor(DType.INT8, (1, 5, 6, 4), scale=0.1)),
        (0, tensor(DType.INT8, (2, 5, 6, 3), scale=0.1)),
        (0, tensor(DType.INT8, (1, 5, 6, 3), scale=0.1, zero_point=300)),
        (1, tensor(DType.INT8, (1, 3, 2, 4), scale=0.1, data=np.zeros((1, 3, 2, 4)))),
        (2, tensor(DType.INT64, (3,), data=np.zeros(3))),
        (2, tensor(DType.INT32, (2,), data=np.zeros(2))),
        (3, tensor(DType.INT8, (1, 5, 6, 3))),
        (3, tensor(DType.INT16, (1, 5, 6, 3), scale=0.1)),
        (3, tensor(DType.INT8, (5, 18), scale=0.1)),
    ],
)
def test_malformed(index, replacement):
    with pytest.raises(InvalidModelError, match="DEPTHWISE_CONV_2D"):
        prepare_model(changed(index, replacement), TflmBuild.wheel())


@pytest.mark.parametrize(
    "options", [{"stride_h": 0}, {"dilation_w_factor": 0}, {"padding": 7}, {"depth_multiplier": 2}]
)
def test_malformed_options(options):
    with pytest.raises(InvalidModelError, match="DEPTHWISE_CONV_2D"):
        prepare_model(model(np.random.default_rng(1), options=options), TflmBuild.wheel())


def test_absent_bias_would_crash_tflm():
    one = model(np.random.default_rng(1), bias=None)
    op, tensors = one.subgraphs[0].operators[0], one.subgraphs[0].tensors
    kind = {"options_type": "DepthwiseConv2DOptions"}
    absent = model_of("DEPTHWISE_CONV_2D", [*tensors[:2], None], tensors[2:], op.options, **kind)
    with pytest.raises(InvalidModelError, match="left out of the inputs"):
        prepare_model(absent, TflmBuild.wheel())


def test_macs_count_positions():
    one = model(np.random.default_rng(0), (1, 4, 4, 6), (3, 2), 2, stride=(2, 1))
    assert macs(prepare_model(one, TflmBuild()).nodes[0][0].node) == 2 * 4 * 12 * 3 * 2
