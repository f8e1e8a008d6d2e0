"""Convolution of int8 images, all of whose channels meet all weights, by products of bytes.

There are three ways to the rows that `_int8_gemm` multiplies:

- a filter of one position that looks at each pixel: pixels are rows as they are;
- a filter of few bytes a row: image rows are interleaved as for a depthwise convolution, so that
  the columns under the filter lie together and the row of a pixel is a part of a line, or of a
  few;
- else patches are copied out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro import _int8_gemm
from refmicro._int8_gemm import PackedWeights, Rescale, multiply_rows
from refmicro._jit import jit
from refmicro._vector_code import LANES
from refmicro.ops._interleave import COLUMN_ROWS, fill_columns
from refmicro.ops._spec import Step
from refmicro.ops._window import Window, byte_patches_step

_SHORT_RUN = 64
"""Runs of patches below so many bytes are not worth copying one by one."""

_PATCH_BYTES = 1 << 19
"""Patches are made for so many bytes at a time, which stay in the second-level cache."""


@dataclass(frozen=True)
class ByteConvolution:
    """A constant filter and all that follows its sums.

    Attributes:
        window: geometry.
        fill: input zero point, the value outside of an image.
        weights: for rows of pixels, of patches or of columns.
        by_columns: whether image rows are interleaved.
    """

    window: Window
    fill: int
    weights: PackedWeights
    by_columns: bool


def pack(
    weights: np.ndarray, starts: np.ndarray, rescale: Rescale, window: Window, fill: int
) -> ByteConvolution:
    """A filter for `steps`.

    Args:
        weights: integers that fit int8, shape (taps * input channels, output channels).
        starts: int64, one an output channel: the bias less the zero point times the filter.
        rescale: supported.
        window: geometry.
        fill: input zero point.
    """
    height = window.height.filter
    run = weights.shape[0] // height
    groups = -(-height // COLUMN_ROWS)
    # At most every fourth byte of a column is to be multiplied by 0.
    by_columns = 4 * height >= 3 * groups * COLUMN_ROWS
    by_columns = by_columns and window.width.dilation == 1 and run < _SHORT_RUN
    if by_columns:
        columns = np.zeros((groups * COLUMN_ROWS, run, weights.shape[1]), np.int64)
        columns[:height] = weights.reshape(height, run, -1)
        columns = columns.reshape(groups, COLUMN_ROWS, run, -1).swapaxes(1, 2)
        weights = columns.reshape(groups * run * COLUMN_ROWS, -1)
    return ByteConvolution(window, fill, _int8_gemm.pack(weights, starts, rescale), by_columns)


def steps(images: np.ndarray, filters: ByteConvolution, out: np.ndarray) -> list[Step]:
    """What writes `out`, int8 (N * output pixels, channels), from contiguous int8 images of shape
    (N, height, width, channels)."""
    assert images.dtype == np.int8, images.dtype
    assert images.flags.c_contiguous
    window, packed = filters.window, filters.weights
    if not out.size:
        return []
    if filters.by_columns:
        return [_columns_step(images, filters, out)]
    if window.is_identity and images.shape[3] == packed.depth:
        return [_int8_gemm.product_step(images.reshape(-1, packed.depth), packed, out)]
    result: list[Step] = []
    step = max(1, _PATCH_BYTES // (window.pixels * packed.depth))
    step = min(step, images.shape[0])
    room = np.empty((step * window.pixels, packed.depth), np.int8)
    for first in range(0, images.shape[0], step):
        block = images[first : first + step]
        rows = room[: block.shape[0] * window.pixels]
        part = out[first * window.pixels :][: rows.shape[0]]
        result.append(byte_patches_step(block, window, filters.fill, rows))
        result.append(_int8_gemm.product_step(rows, packed, part))
    return result


def _columns_step(images: np.ndarray, filters: ByteConvolution, out: np.ndarray) -> Step:
    window, packed = filters.window, filters.weights
    height, width = window.height, window.width
    _, _, columns, channels = images.shape
    blank = np.full(columns * channels, filters.fill, np.int8)
    groups = -(-height.filter // COLUMN_ROWS)
    lines = np.empty(groups * width.reach * channels + LANES, np.int32)
    # Columns are unsigned already.
    flip = np.zeros(64, np.uint8)
    arguments = (
        images,
        *(blank, lines, flip, packed.weights, packed.terms),
        *(filters.fill, packed.depth, packed.channels, packed.one_sided),
        *(height.out, height.filter, height.stride, height.dilation, height.pad),
        *(width.out, width.reach, width.stride, width.pad),
        out,
    )
    return _convolve.ready, arguments


@jit
def _convolve(
    images,
    blank,
    columns,
    flip,
    weights,
    terms,
    fill,
    depth,
    out_channels,
    one_sided,
    out_y,
    filter_y,
    stride_y,
    dilation_y,
    pad_y,
    out_x,
    reach_x,
    stride_x,
    pad_x,
    out,
):
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    source, outside_row = np.int64(images.ctypes.data), np.int64(blank.ctypes.data)
    target, start = np.int64(out.ctypes.data), np.int64(columns.ctypes.data)
    factors, frame = np.int64(weights.ctypes.data), np.int64(terms.ctypes.data)
    unflipped = np.int64(flip.ctypes.data)
    pixel = 4 * channels
    groups = (filter_y + COLUMN_ROWS - 1) // COLUMN_ROWS
    group_bytes = reach_x * pixel
    outside = (fill ^ 128) & 255
    lines = np.empty(COLUMN_ROWS, np.int64)
    for n in range(images.shape[0]):
        for y in range(out_y):
            for group in range(groups):
                for i in range(COLUMN_ROWS):
                    tap = group * COLUMN_ROWS + i
                    row = y * stride_y + tap * dilation_y - pad_y
                    inside = tap < filter_y and 0 <= row < height
                    place = source + (n * height + row) * width * channels
                    lines[i] = place if inside else outside_row
                fill_columns(
                    start + group * group_bytes,
                    group_bytes,
                    frame,
                    lines,
                    min(COLUMN_ROWS, filter_y - group * COLUMN_ROWS),
                    outside,
                    width,
                    channels,
                    np.int64(1),
                    pad_x,
                )
            multiply_rows(
                start,
                stride_x * pixel,
                groups,
                group_bytes,
                depth,
                factors,
                unflipped,
                frame,
                target,
                out_channels,
                one_sided,
                out_x,
            )
            target += out_x * out_channels
