"""CONV_2D against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.ops.conv_2d import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle

SAME, VALID = 0, 1
SCALES = st.floats(2.0**-10, 2.0)
POINTS = st.integers(-128, 127)


def model(
    rng,
    image=(1, 5, 6, 3),
    filters=(4, 3, 2),
    *,
    out=None,
    stride=(1, 1),
    dilation=(1, 1),
    padding=SAME,
    groups=1,
    x=DType.INT8,
    w=DType.INT8,
    bias=DType.INT32,
    bias_range=2000,
    per_channel=True,
    scales=(0.05, 0.02, 0.3),
    points=(3, -5),
    activation=0,
    computed=(),
    options=None,
):
    """A CONV_2D; `filters` is (output channels, height, width), `out` overrides height and width
    of the output, `computed` names filter or bias as inputs of the model."""
    channels, height, width = filters
    sx, sw, so = scales
    quantized = x is not DType.FLOAT32
    zx, zo = points if x is DType.INT8 else (0, 0)
    count = channels if per_channel else 1
    filter_scales = [sw * f for f in rng.uniform(0.2, 1, count)]
    low, high = {DType.INT4: (-7, 7), DType.INT8: (-128, 127), DType.FLOAT32: (-9, 9)}[w]
    shape = (channels, height, width, image[3] // groups)
    values = rng.integers(low, high, shape, endpoint=True)
    if w is DType.FLOAT32:
        values = values * rng.normal(0, 1, shape)
    scale = {"scale": filter_scales, "zero_point": [0] * count} if quantized else {}
    inputs = [
        tensor(x, image, scale=sx if quantized else (), zero_point=zx),
        tensor(w, shape, **scale, data=None if "filter" in computed else values),
        None,
    ]
    if bias is not None:
        values = rng.integers(-bias_range, bias_range, channels, endpoint=True)
        inputs[2] = tensor(bias, (channels,), data=None if "bias" in computed else values)
    if out is None:
        spans = [(filters[i + 1] - 1) * dilation[i] + 1 for i in (0, 1)]
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
        "fused_activation_function": activation,
        **(options or {}),
    }
    return model_of("CONV_2D", inputs, [result], table, options_type="Conv2DOptions", version=5)


SIZES = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7), st.integers(1, 5))
FILTERS = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    st.integers(0, 99),
    SIZES,
    FILTERS,
    PAIRS,
    PAIRS,
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS),
    st.booleans(),
    st.sampled_from([DType.INT32, None]),
    st.sampled_from([0, 1, 2, 3]),
)
def test_int8_same(
    seed, image, filters, stride, dilation, scales, points, per_channel, bias, activation
):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        stride=stride,
        dilation=dilation,
        scales=scales,
        points=points,
        per_channel=per_channel,
        bias=bias,
        activation=activation,
    )
    compare(one, expect="run")


@given(st.integers(0, 99), FILTERS, PAIRS, PAIRS, st.integers(0, 4), st.integers(0, 4))
def test_int8_valid(seed, filters, stride, dilation, more_rows, more_columns):
    spans = [(filters[i + 1] - 1) * dilation[i] + 1 for i in (0, 1)]
    image = (1, spans[0] + more_rows, spans[1] + more_columns, 2)
    rng = np.random.default_rng(seed)
    compare(
        model(rng, image, filters, stride=stride, dilation=dilation, padding=VALID), expect="run"
    )


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("out", [(1, 1), (2, 5), (9, 8)])
@pytest.mark.parametrize("image", [(1, 4, 5, 2), (1, 1, 2, 2)])
def test_the_outputs_size_is_what_it_declares(image, out, padding):
    """TFLM computes the padding from the input, and as many pixels as the output holds."""
    rng = np.random.default_rng(5)
    compare(model(rng, image, (3, 3, 4), out=out, padding=padding, stride=(3, 2)), expect="run")


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_valid_filter_larger_than_the_image(size, stride):
    """The division that gives the output's size truncates, so that some of these are padded."""
    rng = np.random.default_rng(5)
    shape = {"out": (2, 2), "padding": VALID, "stride": (stride, stride)}
    compare(model(rng, (1, size, size, 2), (3, 5, 4), **shape), expect="run")


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("x", [DType.INT8, DType.INT16, DType.FLOAT32])
def test_groups(groups, x):
    w = DType.FLOAT32 if x is DType.FLOAT32 else DType.INT8
    bias = {DType.INT8: DType.INT32, DType.INT16: DType.INT64}.get(x, DType.FLOAT32)
    rng = np.random.default_rng(groups)
    compare(model(rng, (1, 4, 4, 6), (6, 3, 2), groups=groups, x=x, w=w, bias=bias), expect="run")


@given(
    st.integers(0, 99),
    SIZES,
    FILTERS,
    st.sampled_from([DType.INT32, DType.INT64, None]),
    st.booleans(),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 2, 4]),
)
def test_int16(seed, image, filters, bias, per_channel, activation, bias_type):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        x=DType.INT16,
        bias=bias,
        per_channel=per_channel,
        scales=(2.0**-12, 0.02, 2.0**-9),
        activation=activation,
        bias_range=2**24,
        options={"quantized_bias_type": bias_type},
    )
    compare(one, expect="run")


def test_int16_zero_points_are_not_used():
    one = model(np.random.default_rng(1), x=DType.INT16, activation=3)
    source, w, bias, _ = one.subgraphs[0].tensors
    source = tensor(DType.INT16, source.shape, scale=2.0**-12, zero_point=77)
    result = tensor(DType.INT16, (1, 5, 6, 4), scale=2.0**-10, zero_point=-500)
    op = one.subgraphs[0].operators[0]
    changed = model_of(
        "CONV_2D", [source, w, bias], [result], op.options, options_type="Conv2DOptions"
    )
    compare(changed, expect="run")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("image", [(1, 3, 3, 1), (1, 3, 4, 5)])
def test_int4_filter(image, per_channel):
    rng = np.random.default_rng(1)
    compare(model(rng, image, w=DType.INT4, per_channel=per_channel), expect="run")


def test_computed_int4_filter_is_refused():
    one = model(np.random.default_rng(1), w=DType.INT4, computed=("filter",))
    with pytest.raises(UnsupportedError, match="int4 filter must be constant"):
        prepare_model(one, TflmBuild.wheel())


@given(st.integers(0, 99), SIZES, FILTERS, PAIRS, PAIRS, st.booleans(), st.integers(0, 3))
def test_float32(seed, image, filters, stride, dilation, bias, activation):
    one = model(
        np.random.default_rng(seed),
        image,
        filters,
        stride=stride,
        dilation=dilation,
        x=DType.FLOAT32,
        w=DType.FLOAT32,
        bias=DType.FLOAT32 if bias else None,
        activation=activation,
    )
    compare(one, expect="run")


def test_float32_leaves_out_what_is_outside():
    """Zeros in place of the positions outside would make NaN of an infinite filter."""
    x, out = tensor(DType.FLOAT32, (1, 2, 2, 1)), tensor(DType.FLOAT32, (1, 2, 2, 1))
    values = np.ones((1, 3, 3, 1), np.float32)
    values[0, 0, 0] = np.inf
    w = tensor(DType.FLOAT32, (1, 3, 3, 1), data=values)
    table = {"stride_h": 1, "stride_w": 1}
    one = model_of("CONV_2D", [x, w], [out], table, options_type="Conv2DOptions")
    compare(one, [np.full((1, 1, 2, 2, 1), 2, np.float32)], expect="run")


@pytest.mark.parametrize("computed", [("filter",), ("bias",), ("filter", "bias")])
@pytest.mark.parametrize(
    ("x", "bias"),
    [(DType.INT8, DType.INT32), (DType.INT16, DType.INT64), (DType.FLOAT32, DType.FLOAT32)],
)
def test_computed_filter_and_bias_of_each_row(computed, x, bias):
    rng = np.random.default_rng(2)
    w = DType.FLOAT32 if x is DType.FLOAT32 else DType.INT8
    one = model(rng, (2, 3, 4, 2), x=x, w=w, bias=bias, computed=computed)
    graph = one.subgraphs[0]
    rows = [random_values(graph.tensors[i], 5, rng) for i in graph.inputs]
    if "bias" in computed:
        rows[-1] = rng.integers(-9000, 9000, rows[-1].shape).astype(bias.numpy)
    compare(one, rows, expect="run")


def test_sums_beyond_int32_wrap():
    rng = np.random.default_rng(3)
    compare(model(rng, bias_range=2**31 - 1, points=(-128, 4)), rows=8, expect="run")
    sixteen = model(rng, (1, 5, 5, 64), (5, 5, 5), x=DType.INT16, bias_range=2**31 - 1)
    compare(sixteen, rows=4, expect="run")


def test_blocks_of_images_and_rows_of_a_batch():
    rng = np.random.default_rng(4)
    one = model(rng, (3, 12, 12, 8), (16, 3, 3), stride=(2, 1))
    compare(one, rows=40, expect="run")


def refused(change, **options):
    """A float or int8 model with one tensor replaced."""
    one = model(np.random.default_rng(1), **options)
    tensors = list(one.subgraphs[0].tensors)
    index, replacement = change
    tensors[index] = replacement
    op = one.subgraphs[0].operators[0]
    return model_of("CONV_2D", tensors[:-1], tensors[-1:], op.options, options_type="Conv2DOptions")


ZEROS = np.zeros((4, 3, 2, 3))


@pytest.mark.parametrize(
    "change",
    [
        (0, tensor(DType.INT8, (1, 5, 6, 3))),
        (0, tensor(DType.UINT8, (1, 5, 6, 3), scale=0.1)),
        (0, tensor(DType.FLOAT32, (1, 5, 6, 3))),
        (1, tensor(DType.INT8, (4, 3, 2, 3), data=ZEROS)),
        (1, tensor(DType.INT16, (4, 3, 2, 3), scale=0.1, data=ZEROS)),
        (1, tensor(DType.INT8, (4, 3, 2, 3), scale=[0.1] * 3, zero_point=[0] * 3, data=ZEROS)),
        (
            1,
            tensor(
                DType.INT8, (4, 3, 2, 3), scale=[0.1] * 4, zero_point=[0] * 4, axis=1, data=ZEROS
            ),
        ),
    ],
)
def test_refusals(change):
    compare(refused(change), expect="refuse")


@pytest.mark.parametrize(
    "change",
    [
        (0, tensor(DType.INT8, (1, 5, 18), scale=0.1)),
        (0, tensor(DType.INT8, (1, 5, 6, 4), scale=0.1)),
        (0, tensor(DType.INT8, (2, 5, 6, 3), scale=0.1)),
        (0, tensor(DType.INT8, (1, 5, 6, 3), scale=0.1, zero_point=300)),
        (0, tensor(DType.INT8, (1, 5, 6, 3), scale=1e30)),
        (1, tensor(DType.INT8, (5, 3, 2, 3), scale=0.1, data=np.zeros((5, 3, 2, 3)))),
        (2, tensor(DType.INT64, (4,), data=np.zeros(4))),
        (2, tensor(DType.INT32, (3,), data=np.zeros(3))),
        (3, tensor(DType.INT8, (1, 5, 6, 4))),
        (3, tensor(DType.INT8, (5, 24), scale=0.1)),
    ],
)
def test_malformed(change):
    """TFLM would read or write out of bounds, or divide by zero, with each of these."""
    with pytest.raises(InvalidModelError, match="CONV_2D"):
        prepare_model(refused(change), TflmBuild.wheel())


@pytest.mark.parametrize("options", [{"stride_h": 0}, {"dilation_w_factor": 0}, {"padding": 7}])
def test_malformed_options(options):
    with pytest.raises(InvalidModelError, match="CONV_2D"):
        prepare_model(model(np.random.default_rng(1), options=options), TflmBuild.wheel())


def test_bias_may_be_absent_or_left_out():
    one = model(np.random.default_rng(1), bias=None)
    compare(one, expect="run")
    op, tensors = one.subgraphs[0].operators[0], one.subgraphs[0].tensors
    kind = {"options_type": "Conv2DOptions"}
    compare(model_of("CONV_2D", tensors[:2], tensors[2:], op.options, **kind), expect="run")


def test_macs_count_every_pixel_and_one_group():
    one = model(np.random.default_rng(0), (1, 4, 4, 6), (6, 3, 2), groups=3, stride=(2, 1))
    assert macs(prepare_model(one, TflmBuild()).nodes[0][0].node) == 2 * 4 * 6 * 3 * 2 * 2


@pytest.mark.parametrize("code", [-1, 0, 22, 23])
def test_bias_type_of_the_options_must_be_a_type(code):
    one = model(np.random.default_rng(1), options={"quantized_bias_type": code})
    compare(one, expect="run" if code in (0, 22) else "refuse")
