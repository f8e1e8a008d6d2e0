"""AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@given(SIZES, PAIRS, PAIRS, st.sampled_from([0, 1, 2, 3]), st.integers(-128, 127))
def test_same(name, dtype, image, taps, stride, activation, point):
    points = (point, point)
    compare(
        model(name, image, taps, stride=stride, dtype=dtype, activation=activation, points=points),
        expect="run",
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@given(PAIRS, PAIRS, st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_valid(name, dtype, taps, stride, more):
    image = (2, taps[0] + more[0], taps[1] + more[1], 3)
    compare(model(name, image, taps, stride=stride, padding=VALID, dtype=dtype), expect="run")


@given(SIZES, PAIRS, PAIRS, st.sampled_from([0, 1, 2, 3]))
def test_l2_same(image, taps, stride, activation):
    one = model(
        "L2_POOL_2D", image, taps, stride=stride, dtype=DType.FLOAT32, activation=activation
    )
    compare(one, expect="run")


@pytest.mark.parametrize("taps", [(1, 1), (2, 3), (5, 6)])
def test_l2_valid(taps):
    compare(model("L2_POOL_2D", taps=taps, padding=VALID, dtype=DType.FLOAT32), expect="run")


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_averages_at_each_half(count):
    """Every sum from the lowest to the highest, halves of both signs."""
    sums = np.arange(-128 * count, 127 * count + 1)
    whole, rest = np.divmod(sums, count)
    rows = whole[:, None] + (np.arange(count) < rest[:, None])
    assert np.array_equal(rows.sum(1), sums)
    values = rows.astype(np.int8).reshape(-1, 1, 1, count, 1)
    one = model("AVERAGE_POOL_2D", (1, 1, count, 1), (1, count), padding=VALID)
    compare(one, [values], expect="run")


@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_float_ends_of_the_range(name):
    values = np.array([np.inf, -np.inf, 3e38, -3e38, -0.0, 1e-45, 0.0], np.float32)
    rows = np.stack([np.roll(values, i)[:3] for i in (1, 2, 3, 4, 5)]).reshape(-1, 1, 1, 3, 1)
    one = model(name, (1, 1, 3, 1), (1, 1), dtype=DType.FLOAT32)
    compare(one, [rows], expect="run")


def test_maximum_of_nothing_is_the_lowest_value():
    for dtype in DTYPES:
        one = model("MAX_POOL_2D", (1, 2, 2, 1), (1, 1), stride=(3, 3), out=(2, 2), dtype=dtype)
        compare(one, expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": (0.05, 0.0501)},
        {"points": (3, 4)},
        {"dtype": DType.UINT8},
        {"dtype": DType.INT32},
    ],
)
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_refusals(name, changes):
    compare(model(name, **changes), expect="refuse")


@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_scales_may_differ_by_a_millionth(name):
    compare(model(name, scales=(0.05, 0.0500009)), expect="run")


@pytest.mark.parametrize("changes", [{"dtype": DType.INT8}, {"out_dtype": DType.INT8}])
def test_l2_refusals(changes):
    compare(model("L2_POOL_2D", **{"dtype": DType.FLOAT32, **changes}), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [
        {"image": (1, 5, 6)},
        {"out_dtype": DType.INT16},
        {"options": {"stride_h": 0}},
        {"options": {"filter_width": 0}},
        {"options": {"padding": 9}},
        {"points": (200, 200)},
        {"stride": (7, 7), "out": (3, 3), "taps": (1, 1)},
    ],
)
def test_malformed(changes):
    if "image" in changes:
        x = tensor(DType.INT8, changes["image"], scale=0.1)
        one = model_of("AVERAGE_POOL_2D", [x], [x], {}, options_type="Pool2DOptions")
    else:
        one = model("AVERAGE_POOL_2D", **changes)
    with pytest.raises(InvalidModelError, match="AVERAGE_POOL_2D"):
        prepare_model(one, TflmBuild.wheel())


def test_l2_output_must_be_as_computed():
    with pytest.raises(InvalidModelError, match="height 5 and width 6"):
        prepare_model(model("L2_POOL_2D", dtype=DType.FLOAT32, out=(4, 6)), TflmBuild.wheel())
