"""Sliding windows over images: TFLM's padding rule, and patches laid out for a matrix product.

Source: `tensorflow/lite/kernels/padding.h`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro._vector_code import COPY_BYTES, FILL_BYTES
from refmicro.ops._spec import PrepareContext, Step

SAME, VALID = 0, 1

MAX_SIDE = 1 << 22
"""Outputs along one dimension: what is prepared for each of them takes memory."""

MAX_POSITIONS = 1 << 26
"""Positions that a filter passes over, padding and gaps included: kernels lay them all out."""

_SHORT_RUN = 16
"""Runs of values below this are not worth copying as such."""


@dataclass(frozen=True)
class Axis:
    """One spatial dimension: `size` inputs, `out` outputs, and `pad` positions before the image."""

    size: int
    out: int
    filter: int
    stride: int
    dilation: int
    pad: int

    @property
    def span(self) -> int:
        """Positions that a filter covers, gaps included."""
        return (self.filter - 1) * self.dilation + 1

    @property
    def reach(self) -> int:
        """Positions from the first to the last that any output looks at, padding included."""
        return (self.out - 1) * self.stride + self.span

    @property
    def is_identity(self) -> bool:
        """Whether output i looks at input i alone."""
        return self.span == 1 and self.stride == 1 and self.pad == 0 and self.out == self.size

    @cached_property
    def counts(self) -> np.ndarray:
        """How many filter taps of each output fall on the image, int64 of shape (out,)."""
        first = np.arange(self.out, dtype=np.int64) * self.stride - self.pad
        # Counted from the ends: a damaged filter may have any number of taps.
        lowest = np.maximum(0, -(first // self.dilation))
        highest = np.minimum(self.filter - 1, (self.size - 1 - first) // self.dilation)
        return np.maximum(0, highest - lowest + 1)


@dataclass(frozen=True)
class Window:
    """A filter's way over an image of shape (N, height, width, C)."""

    height: Axis
    width: Axis

    @property
    def is_identity(self) -> bool:
        """Whether each output pixel looks at the same input pixel alone."""
        return self.height.is_identity and self.width.is_identity

    @property
    def taps(self) -> int:
        """Positions of the filter."""
        return self.height.filter * self.width.filter

    @property
    def pixels(self) -> int:
        """Output pixels of one image."""
        return self.height.out * self.width.out


def output_size(padding: int, axis: Axis) -> int:
    """The size that follows from the input, whatever the output tensor declares; below 0 where the
    filter is too large for the image. The division truncates, as C's does."""
    if padding == SAME:
        return -(-axis.size // axis.stride)
    room = axis.size + axis.stride - axis.span
    return room // axis.stride if room >= 0 else -(-room // axis.stride)


def prepare_window(
    ctx: PrepareContext,
    image: tuple[int, ...],
    output: tuple[int, ...],
    taps: tuple[int, int],
) -> Window:
    """The window of the node's strides, dilations and padding, over 4-D shapes.

    Args:
        image, output: shapes (N, height, width, C).
        taps: height and width of the filter.
    """
    mode = ctx.options.get("padding", SAME)
    ctx.require_shape(mode in (SAME, VALID), "padding must be SAME (0) or VALID (1)", mode)
    strides = ctx.options.get("stride_h", 0), ctx.options.get("stride_w", 0)
    dilations = ctx.options.get("dilation_h_factor", 1), ctx.options.get("dilation_w_factor", 1)
    ctx.require_shape(min(taps) > 0, "a filter must have at least 1 x 1 positions", taps)
    ctx.require(
        max(output[1:3]) <= MAX_SIDE, f"an image may be at most {MAX_SIDE} wide here", output
    )
    ctx.require_shape(min(strides) > 0, "strides must be above 0", strides)
    ctx.require_shape(min(dilations) > 0, "dilation factors must be above 0", dilations)
    axes = [Axis(image[i + 1], output[i + 1], taps[i], strides[i], dilations[i], 0) for i in (0, 1)]
    sizes = [output_size(mode, axis) for axis in axes]
    if min(sizes) >= 0:
        # Where one of them fails, TFLM goes on with both paddings at 0.
        axes = [
            dataclasses.replace(
                axis, pad=max((out - 1) * axis.stride + axis.span - axis.size, 0) // 2
            )
            for axis, out in zip(axes, sizes, strict=True)
        ]
    positions = math.prod(axis.out * axis.stride + axis.span for axis in axes)
    ctx.require(
        positions <= MAX_POSITIONS,
        f"a filter may pass over at most {MAX_POSITIONS} positions here",
        f"strides {strides} and dilations {dilations} make it {positions}",
    )
    return Window(*axes)


def patches(images: np.ndarray, window: Window, fill: int, dtype: np.dtype) -> np.ndarray:
    """What each output pixel looks at.

    Args:
        images: shape (N, height, width, C).
        window: geometry.
        fill: value of positions outside of the image.
        dtype: type of the result.

    Returns:
        Shape (N * output pixels, taps * C), in the order of filter rows, filter columns, channels.
    """
    count, height, width, channels = images.shape
    if window.is_identity:
        return images.reshape(-1, channels).astype(dtype)
    columns = window.width
    run = columns.filter if columns.dilation == 1 else 1
    if run * channels < _SHORT_RUN:
        return _taps(images, window, fill, dtype)
    shape = (count, window.height.out, columns.out, window.height.filter, columns.filter // run)
    out = np.empty((*shape, run * channels), dtype)
    rows = np.ascontiguousarray(images).reshape(count, height, width * channels)
    geometry = (
        window.height.stride,
        window.height.dilation,
        window.height.pad,
        columns.stride * channels,
        columns.dilation * channels,
        columns.pad * channels,
    )
    _copy_patches(rows, fill, *geometry, out)
    return out.reshape(-1, window.taps * channels)


def byte_patches_step(images: np.ndarray, window: Window, fill: int, out: np.ndarray) -> Step:
    """A call that writes the same for int8, where `_jit.has_byte_products`.

    Args:
        images: contiguous.
        window, fill: as above.
        out: shape (N * output pixels, at least taps * C), contiguous; what is beyond the last
            channel of the last tap stays as it is.
    """
    count, _, _, channels = images.shape
    height, width = window.height, window.width
    runs = 1 if width.dilation == 1 else width.filter
    geometry = (
        *(height.filter, height.stride, height.dilation, height.pad),
        *(runs, width.stride * channels, width.dilation * channels, width.pad * channels),
        width.filter // runs * channels,
    )
    shape = count, height.out, width.out, out.shape[1]
    return _copy_bytes.ready, (images, fill, *geometry, out.reshape(shape))


@jit
def _copy_bytes(
    images, fill, taps_y, stride_y, dilation_y, pad_y, runs, stride_x, dilation_x, pad_x, run, out
):
    """Copies runs of bytes that lie together; steps and pads along x count bytes."""
    height, width = images.shape[1], images.shape[2] * images.shape[3]
    source, pixel = np.int64(images.ctypes.data), np.int64(out.ctypes.data)
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                target = pixel
                pixel += out.shape[3]
                for i in range(taps_y):
                    row = y * stride_y + i * dilation_y - pad_y
                    inside = 0 <= row < height
                    line = source + (n * height + row) * width
                    for j in range(runs):
                        start = x * stride_x + j * dilation_x - pad_x
                        first, last = max(start, 0), min(start + run, width)
                        if inside and first < last:
                            if start < 0:
                                FILL_BYTES(target, fill, -start)
                            COPY_BYTES(target + first - start, line + first, last - first)
                            if last < start + run:
                                FILL_BYTES(target + last - start, fill, start + run - last)
                        else:
                            FILL_BYTES(target, fill, run)
                        target += run


def _taps(images: np.ndarray, window: Window, fill: int, dtype: np.dtype) -> np.ndarray:
    """What `patches` returns, laid out column by column: one filter position after the other sees
    its value of all pixels, which is faster than many short runs."""
    count, height, width, channels = images.shape
    out = np.empty((window.taps * channels, count, window.height.out, window.width.out), dtype)
    rows = np.ascontiguousarray(images).reshape(count, height, width * channels)
    geometry = (
        window.height.stride,
        window.height.dilation,
        window.height.pad,
        window.width.filter,
        window.width.stride,
        window.width.dilation,
        window.width.pad,
    )
    _copy_taps(rows, channels, fill, *geometry, out)
    return out.reshape(out.shape[0], -1).T


@jit
def _copy_taps(
    rows,
    channels,
    fill,
    stride_y,
    dilation_y,
    pad_y,
    taps_x,
    stride_x,
    dilation_x,
    pad_x,
    out,
):
    unsigned = np.uint64
    source, target, position = rows.reshape(-1), out.reshape(-1), 0
    height, columns = rows.shape[1], rows.shape[2] // channels
    for k in range(out.shape[0]):
        tap, channel = k // channels, k % channels
        top, left = tap // taps_x * dilation_y - pad_y, tap % taps_x * dilation_x - pad_x
        # Pixels first..last - 1 of a row see the image at this tap.
        size = out.shape[3]
        first = min(size, max(0, -(left // stride_x)))
        last = max(first, min(size, (columns - 1 - left) // stride_x + 1))
        step = stride_x * channels
        for n in range(out.shape[1]):
            for y in range(out.shape[2]):
                row = top + y * stride_y
                begin, end = (first, last) if 0 <= row < height else (size, size)
                base = ((n * height + row) * columns + left) * channels + channel
                for x in range(begin):
                    target[unsigned(position + x)] = fill
                for x in range(begin, end):
                    target[unsigned(position + x)] = source[unsigned(base + x * step)]
                for x in range(end, size):
                    target[unsigned(position + x)] = fill
                position += size


@jit
def _copy_patches(rows, fill, stride_y, dilation_y, pad_y, stride_x, dilation_x, pad_x, out):
    """Copies runs of values that lie together; steps and pads along x count values.

    Flat arrays with unsigned indices: views would cost more than short runs do.
    """
    unsigned = np.uint64
    height, width, length = rows.shape[1], rows.shape[2], out.shape[5]
    source, target, position = rows.reshape(-1), out.reshape(-1), 0
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for i in range(out.shape[3]):
                    row = y * stride_y + i * dilation_y - pad_y
                    inside = 0 <= row < height
                    for j in range(out.shape[4]):
                        start = x * stride_x + j * dilation_x - pad_x
                        base = (n * height + row) * width + start
                        if inside and start >= 0 and start + length <= width:
                            for k in range(length):
                                target[unsigned(position + k)] = source[unsigned(base + k)]
                        else:
                            for k in range(length):
                                there = inside and 0 <= start + k < width
                                value = source[unsigned(base + k)] if there else fill
                                target[unsigned(position + k)] = value
                        position += length
