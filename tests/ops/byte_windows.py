"""Windows and images for the tests of convolutions by bytes, and what they must give."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from refmicro import fixedpoint as fp
from refmicro._int8_gemm import Rescale
from refmicro.ops._window import Axis, Window

AXES = st.builds(
    Axis,
    size=st.integers(1, 9),
    out=st.integers(1, 9),
    filter=st.integers(1, 6),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    pad=st.integers(0, 4),
)


@dataclass(frozen=True)
class Case:
    """An int8 convolution of random values; those outside of an image are `fill`."""

    window: Window
    images: np.ndarray
    bias: np.ndarray
    rule: Rescale
    fill: int


def case(seed: int, count: int, window: Window, channels: tuple[int, int], *, relu: bool) -> Case:
    """`channels` are those of input and output."""
    rng = np.random.default_rng(seed)
    shape = (count, window.height.size, window.width.size, channels[0])
    offset, fill = (int(value) for value in rng.integers(-128, 128, 2))
    rule = Rescale(
        rng.integers(2**30, 2**31, channels[1]),
        rng.integers(-12, 0, channels[1]),
        offset,
        offset if relu else -128,
        127,
    )
    images = rng.choice([-128, 127, -1, 5, 77], shape).astype(np.int8)
    return Case(window, images, rng.integers(-5000, 5000, channels[1]), rule, fill)


def weights(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).choice([-128, 127, 1, -50, 0], shape)


def patches(one: Case) -> np.ndarray:
    """int64 (N, out y, out x, taps, channels)."""
    height, width, images = one.window.height, one.window.width, one.images
    shape = (images.shape[0], height.out, width.out, one.window.taps, images.shape[3])
    out = np.full(shape, one.fill, np.int64)
    for y, x, i, j in np.ndindex(height.out, width.out, height.filter, width.filter):
        row = y * height.stride + i * height.dilation - height.pad
        column = x * width.stride + j * width.dilation - width.pad
        if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
            out[:, y, x, i * width.filter + j] = images[:, row, column]
    return out


def expected(sums: np.ndarray, one: Case) -> np.ndarray:
    """Outputs of sums (R, channels) that lack the bias, by the integer rule."""
    totals = sums + one.bias
    out = np.empty(totals.shape, np.int64)
    multiply = fp.multiply_by_quantized_multiplier.python
    for (row, column), total in np.ndenumerate(totals):
        pair = int(one.rule.multipliers[column]), int(one.rule.shifts[column])
        out[row, column] = multiply(int(total), *pair) + one.rule.offset
    return out.clip(one.rule.low, one.rule.high).astype(np.int8)
