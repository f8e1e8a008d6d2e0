"""Depthwise convolution with VNNI against numpy in int64 and the integer rule in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro._int8_gemm import Rescale
from refmicro.ops import _depthwise_bytes
from refmicro.ops._window import Axis, Window
from tests.test_int8_gemm import expected, needs_vnni

PADDED = st.tuples(
    st.integers(1, 9), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)
)
"""Input size, filter, stride, dilation, pad."""


def axis(size, taps, stride, dilation, pad, out):
    return Axis(size, out, taps, stride, dilation, pad)


def patches(images, window, fill):
    """int64 (N, out y, out x, taps, channels), one value at a time where it lies outside."""
    vertical, horizontal = window.height, window.width
    out = np.full(
        (images.shape[0], vertical.out, horizontal.out, window.taps, images.shape[3]),
        fill,
        np.int64,
    )
    for y, x, i, j in np.ndindex(vertical.out, horizontal.out, vertical.filter, horizontal.filter):
        row = y * vertical.stride + i * vertical.dilation - vertical.pad
        column = x * horizontal.stride + j * horizontal.dilation - horizontal.pad
        if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
            out[:, y, x, i * horizontal.filter + j] = images[:, row, column]
    return out


def check(seed, count, channels, vertical, horizontal, outs, relu):
    rng = np.random.default_rng(seed)
    window = Window(axis(*vertical, outs[0]), axis(*horizontal, outs[1]))
    shape = (count, window.height.size, window.width.size, channels)
    images = rng.choice([-128, 127, -1, 5, 77], shape).astype(np.int8)
    weights = rng.choice([-128, 127, 1, -50, 0], (window.taps, channels))
    offset, fill = (int(value) for value in rng.integers(-128, 128, 2))
    rule = Rescale(
        rng.integers(2**30, 2**31, channels),
        rng.integers(-12, 0, channels),
        offset,
        offset if relu else -128,
        127,
    )
    bias = rng.integers(-5000, 5000, channels)
    # Where all weights lie on the image, this folds the fill; outside it is a value as any other.
    packed = _depthwise_bytes.pack(weights, bias, rule, window, fill)
    got = _depthwise_bytes.convolve(images, packed)
    sums = (patches(images, window, fill) * weights).sum(3).reshape(-1, channels)
    identity = np.zeros((sums.shape[0], 1), np.int8)
    for row, total in enumerate(sums):
        want = expected(identity[:1], np.zeros((1, channels)), total + bias, rule)
        assert np.array_equal(got[row : row + 1], want), (row, window)


@needs_vnni
@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(0, 3),
    st.integers(1, 40),
    PADDED,
    PADDED,
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    st.booleans(),
)
def test_any_window_equals_the_integer_rule(
    seed, count, channels, vertical, horizontal, outs, relu
):
    check(seed, count, channels, vertical, horizontal, outs, relu)


@needs_vnni
@pytest.mark.parametrize("channels", [8, 16, 24, 56, 128, 336, 15, 33])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_shapes_of_mobile_networks(channels, stride):
    side = (7, 3, stride, 1, 1)
    check(channels, 2, channels, side, side, (-(-7 // stride),) * 2, relu=True)


@needs_vnni
def test_nothing_is_computed_for_no_pixels():
    side = (4, 3, 1, 1, 1)
    check(0, 2, 5, side, side, (0, 4), relu=False)
    check(0, 2, 5, side, side, (4, 0), relu=False)
