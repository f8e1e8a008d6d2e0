"""FULLY_CONNECTED against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.ops.fully_connected import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor
from tests.ops.ties import distant_scales, telling_accumulators

pytestmark = pytest.mark.oracle

SCALES = st.floats(2.0**-10, 2.0)
POINTS = st.integers(-128, 127)


def model(
    rng,
    rows,
    depth,
    width,
    *,
    x=DType.INT8,
    w=DType.INT8,
    bias=True,
    scales=(0.05, 0.02, 0.3),
    points=(3, 0, -5),
    per_channel=False,
    activation=0,
    constant=True,
    bias_type=DType.INT32,
    keep_num_dims=False,
    bias_range=2000,
    computed_bias=False,
    more_options=None,
):
    """A FULLY_CONNECTED of `rows` rows."""
    sx, sw, so = scales
    zx, zw, zo = points if x is DType.INT8 else (0, 0, 0)
    quantized = x is not DType.FLOAT32
    low, high = {DType.INT4: (-7, 7), DType.INT8: (-127, 127), DType.FLOAT32: (-2, 2)}[w]
    channel_scales = [sw * f for f in rng.uniform(0.2, 1, width)] if per_channel else [sw]
    values = rng.integers(low, high, (width, depth), endpoint=True)
    source = tensor(x, (rows, depth), scale=sx if quantized else (), zero_point=zx)
    filt = tensor(
        w,
        (width, depth),
        scale=channel_scales if quantized else (),
        zero_point=[0 if per_channel else zw] * len(channel_scales),
        data=values if constant else None,
    )
    b = None
    if bias:
        kind = bias_type if quantized else DType.FLOAT32
        product = [np.float32(sx) * np.float32(s) for s in channel_scales]
        b = tensor(
            kind,
            (width,),
            scale=[float(p) for p in product] if quantized else (),
            zero_point=[0] * len(channel_scales),
            data=None if computed_bias else rng.integers(-bias_range, bias_range, width),
        )
    out = tensor(x, (rows, width), scale=so if quantized else (), zero_point=zo)
    options = {
        "fused_activation_function": activation,
        "keep_num_dims": keep_num_dims,
        **(more_options or {}),
    }
    return model_of("FULLY_CONNECTED", [source, filt, b], [out], options, version=4)


@given(
    st.integers(0, 99),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 17),
    st.tuples(SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS, POINTS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 1, 2, 3]),
    st.booleans(),
)
def test_int8(seed, rows, depth, width, scales, points, bias, per_channel, activation, constant):
    rng = np.random.default_rng(seed)
    if per_channel:
        points = (points[0], 0, points[2])
    compare(
        model(
            rng,
            rows,
            depth,
            width,
            scales=scales,
            points=points,
            bias=bias,
            per_channel=per_channel,
            activation=activation,
            constant=constant,
        ),
        expect="run",
    )


@given(
    st.integers(0, 99),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 17),
    st.booleans(),
    st.booleans(),
    st.sampled_from([DType.INT32, DType.INT64]),
)
def test_int16(seed, rows, depth, width, bias, per_channel, bias_type):
    rng = np.random.default_rng(seed)
    compare(
        model(
            rng,
            rows,
            depth,
            width,
            x=DType.INT16,
            bias=bias,
            per_channel=per_channel,
            bias_type=bias_type,
            scales=(2.0**-12, 0.02, 2.0**-10),
        ),
        expect="run",
    )


@pytest.mark.parametrize("depth", [1, 2, 7, 32])
def test_int4_filter(depth):
    compare(model(np.random.default_rng(1), 3, depth, 5, w=DType.INT4), expect="run")


@pytest.mark.parametrize("constant", [True, False])
def test_float32(constant):
    compare(
        model(
            np.random.default_rng(1),
            3,
            19,
            5,
            x=DType.FLOAT32,
            w=DType.FLOAT32,
            constant=constant,
            activation=1,
        ),
        expect="run",
    )


@pytest.mark.parametrize("activation", [0, 1, 3])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, -3e38, -0.0, 1e-45])
def test_float32_at_the_ends_of_its_range(activation, value):
    x = tensor(DType.FLOAT32, (1, 3))
    w = tensor(DType.FLOAT32, (2, 3), data=np.array([[1, 2, 3], [2, 1, -0.5]]))
    out = tensor(DType.FLOAT32, (1, 2))
    one = model_of(
        "FULLY_CONNECTED", [x, w, None], [out], {"fused_activation_function": activation}
    )
    compare(one, [np.array([[[value, 1, -0.0]], [[value, 0, 0]]], np.float32)], expect="run")


@pytest.mark.parametrize(
    ("x", "bias_type"),
    [(DType.INT8, DType.INT32), (DType.INT16, DType.INT64), (DType.FLOAT32, DType.FLOAT32)],
)
def test_computed_bias_of_each_row(x, bias_type):
    rng = np.random.default_rng(2)
    w = DType.FLOAT32 if x is DType.FLOAT32 else DType.INT8
    one = model(rng, 2, 5, 3, x=x, w=w, bias_type=bias_type, computed_bias=True)
    rows = [
        random_values(one.subgraphs[0].tensors[0], 6, rng),
        rng.integers(-3000, 3000, (6, 3)).astype(bias_type.numpy),
    ]
    compare(one, rows, expect="run")


def test_sums_beyond_int32_wrap():
    one = model(np.random.default_rng(3), 2, 300, 5, bias_range=2**31 - 1, points=(-128, 0, 3))
    compare(one, rows=8, expect="run")
    sixteen = model(np.random.default_rng(3), 2, 700, 5, x=DType.INT16, bias_range=2**31 - 1)
    compare(sixteen, rows=8, expect="run")


@pytest.mark.parametrize(
    ("option", "value", "expect"),
    [
        ("weights_format", 1, "run"),
        ("weights_format", 2, "refuse"),
        ("quantized_bias_type", 22, "run"),
        ("quantized_bias_type", 23, "refuse"),
    ],
)
def test_options_that_the_parser_checks(option, value, expect):
    rng = np.random.default_rng(1)
    compare(model(rng, 2, 8, 4, more_options={option: value}), expect=expect)


@pytest.mark.parametrize("bias_type", [DType.INT64, DType.INT16, DType.UINT32])
def test_bias_of_another_type_would_be_misread(bias_type):
    rng = np.random.default_rng(1)
    with pytest.raises(InvalidModelError, match="bias must be int32"):
        prepare_model(model(rng, 2, 8, 4, bias_type=bias_type), TflmBuild.wheel())


def test_hybrid_is_refused():
    rng = np.random.default_rng(1)
    compare(model(rng, 2, 8, 4, x=DType.FLOAT32, w=DType.INT8, bias=False), expect="refuse")


def test_bias_scale_must_agree():
    rng = np.random.default_rng(1)
    x = tensor(DType.INT8, (1, 4), scale=0.1)
    w = tensor(DType.INT8, (2, 4), scale=0.1, data=rng.integers(-9, 9, (2, 4)))
    b = tensor(DType.INT32, (2,), scale=0.5, data=np.zeros(2))
    out = tensor(DType.INT8, (1, 2), scale=0.1)
    compare(model_of("FULLY_CONNECTED", [x, w, b], [out], {}), expect="refuse")


@pytest.mark.parametrize(("rows", "depth", "width"), [(1, 7, 3), (5, 4, 2)])
def test_macs_count_every_row(rows, depth, width):
    program = prepare_model(model(np.random.default_rng(0), rows, depth, width), TflmBuild())
    assert macs(program.nodes[0][0].node) == rows * depth * width


def test_multiplier_to_the_last_bit():
    a, b, c = distant_scales(0.0005)
    bias = telling_accumulators(a, b, c, 1 << 26, 32000, 64)
    width = bias.size
    x = tensor(DType.INT16, (1, 1), scale=a)
    w = tensor(DType.INT8, (width, 1), scale=b, data=np.zeros((width, 1)))
    offsets = tensor(DType.INT32, (width,), scale=a * b, data=bias)
    out = tensor(DType.INT16, (1, width), scale=c)
    compare(model_of("FULLY_CONNECTED", [x, w, offsets], [out], {}, version=4), expect="run")
