"""Convolution with VNNI against numpy in int64 and the integer rule in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro.ops import _convolution_bytes
from refmicro.ops._spec import run_steps
from refmicro.ops._window import Axis, Window
from tests.ops.byte_windows import AXES, case, expected, patches, weights
from tests.test_int8_gemm import needs_vnni


def check(seed, count, channels, window, relu=False):
    one = case(seed, count, window, channels, relu=relu)
    w = weights(seed, (window.taps * channels[0], channels[1]))
    filters = _convolution_bytes.pack(w, one.bias, one.rule, window, one.fill)
    sums = patches(one).reshape(-1, w.shape[0]) @ w
    out = np.empty(sums.shape, np.int8)
    run_steps(_convolution_bytes.steps(one.images, filters, out))
    assert np.array_equal(out, expected(sums, one))
    return filters


@needs_vnni
@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(0, 3),
    st.tuples(st.integers(1, 12), st.integers(1, 20)),
    AXES,
    AXES,
    st.booleans(),
)
def test_any_window_equals_the_integer_rule(seed, count, channels, height, width, relu):
    check(seed, count, channels, Window(height, width), relu)


@needs_vnni
@pytest.mark.parametrize("channels", [3, 4, 8, 30])
def test_pixels_are_rows_where_the_filter_has_one_position(channels):
    side = Axis(5, 5, 1, 1, 1, 0)
    assert not check(channels, 3, (channels, 17), Window(side, side)).by_columns


@needs_vnni
@pytest.mark.parametrize("outs", [1, 5, 12, 13])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [3, 4, 6, 7, 10])
def test_lines_of_columns_are_rows_of_few_channels(outs, stride, taps):
    side = Axis(outs * stride, outs, taps, stride, 1, 1)
    assert check(outs, 2, (3, 21), Window(side, side)).by_columns
    assert not check(outs, 2, (30, 21), Window(side, side)).by_columns


@needs_vnni
def test_patches_are_made_in_blocks():
    side = Axis(40, 40, 5, 1, 1, 2)
    assert _convolution_bytes._PATCH_BYTES < 40 * 40 * 5 * 5 * 9 * 3
    check(1, 3, (9, 2), Window(side, side))


@needs_vnni
@pytest.mark.parametrize("outs", [(0, 4), (4, 0)])
def test_nothing_is_computed_for_no_pixels(outs):
    check(0, 2, (5, 3), Window(*(Axis(4, out, 3, 1, 1, 1) for out in outs)))
