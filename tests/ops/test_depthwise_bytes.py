"""Depthwise convolution with VNNI against numpy in int64 and the integer rule in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro.ops import _depthwise_bytes
from refmicro.ops._spec import run_steps
from refmicro.ops._window import Axis, Window
from tests.ops.byte_windows import AXES, case, expected, patches, weights
from tests.test_int8_gemm import needs_vnni


def check(seed, count, channels, window, relu):
    one = case(seed, count, window, (channels, channels), relu=relu)
    w = weights(seed, (window.taps, channels))
    packed = _depthwise_bytes.pack(w, one.bias, one.rule, window, one.fill)
    sums = (patches(one) * w).sum(3).reshape(-1, channels)
    out = np.empty(sums.shape, np.int8)
    run_steps(_depthwise_bytes.steps(one.images, packed, out))
    assert np.array_equal(out, expected(sums, one))


@needs_vnni
@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(1, 40), AXES, AXES, st.booleans())
def test_any_window_equals_the_integer_rule(seed, count, channels, height, width, relu):
    check(seed, count, channels, Window(height, width), relu)


@needs_vnni
@pytest.mark.parametrize("channels", [8, 16, 24, 56, 128, 336, 15, 33])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_shapes_of_mobile_networks(channels, stride):
    side = Axis(7, -(-7 // stride), 3, stride, 1, 1)
    check(channels, 2, channels, Window(side, side), relu=True)


@needs_vnni
@pytest.mark.parametrize("outs", [(0, 4), (4, 0)])
def test_nothing_is_computed_for_no_pixels(outs):
    check(0, 2, 5, Window(*(Axis(4, out, 3, 1, 1, 1) for out in outs)), relu=False)
