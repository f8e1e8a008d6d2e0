"""DEPTHWISE_CONV_2D of int8 where the processor multiplies bytes: AVX-512 with VNNI.

For each output row, up to four input rows are interleaved byte by byte, so that a "column" of 32
bits holds one channel of one image column. Each position along the filter's width then adds all
products of a column in one instruction, for 16 channels, and what `_vector_code.Requantize` makes
of the sums is stored: sums are never in memory. Columns are sorted by their remainder modulo the
stride, so that each position along the filter sees one stretch of them for a whole output row.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro._int8_gemm import Rescale
from refmicro._jit import Intrinsic, jit
from refmicro._vector_code import COPY_BYTES, LANES, TERM_BYTES, Emitter, Requantize
from refmicro.ops._interleave import COLUMN_ROWS, fill_columns
from refmicro.ops._spec import Step
from refmicro.ops._window import Window

_FEW = 3
"""Positions along the width of the most common filter, whose weights stay in registers."""


@dataclass(frozen=True)
class DepthwiseBytes:
    """A constant filter and all that follows its sums.

    Attributes:
        window: geometry.
        fill: input zero point, the value outside of an image.
        channels: of input and output.
        period: values of an output row after which weights repeat, a multiple of 16.
        taps: positions along the width, for each group of `COLUMN_ROWS` filter rows.
        offsets: int64, where each tap's columns start, in bytes.
        weights: int8 of shape (period / 16, taps, 16, 4).
        terms: of `Rescale`, for a period.
        one_sided: of `Rescale`.
    """

    window: Window
    fill: int
    channels: int
    period: int
    taps: int
    offsets: np.ndarray
    weights: np.ndarray
    terms: np.ndarray
    one_sided: bool

    @property
    def groups(self) -> int:
        """How many columns lie below one another."""
        return -(-self.window.height.filter // COLUMN_ROWS)

    @property
    def line(self) -> int:
        """Columns of one remainder modulo the stride, each of all channels."""
        return columns_per_phase(self.window) * self.channels


def columns_per_phase(window: Window) -> int:
    """Image columns with one remainder modulo the stride that an output row looks at."""
    return (window.width.span - 1) // window.width.stride + window.width.out


def pack(
    weights: np.ndarray, starts: np.ndarray, rescale: Rescale, window: Window, fill: int
) -> DepthwiseBytes:
    """A filter for `steps`.

    Args:
        weights: integers that fit int8, shape (filter height * filter width, channels).
        starts: int64 of shape (channels,), the bias less the zero point times the filter.
        rescale: supported.
        window: geometry.
        fill: input zero point.
    """
    height, width = window.height.filter, window.width.filter
    channels = weights.shape[1]
    row = max(1, window.width.out * channels)
    period = min(math.lcm(channels, LANES), -(-row // LANES) * LANES)
    repeat = functools.partial(np.resize, new_shape=period)
    groups = -(-height // COLUMN_ROWS)
    rows = np.zeros((groups * COLUMN_ROWS, width, channels), np.int8)
    rows[:height] = weights.reshape(height, width, channels)
    # To (group, position, channel, row of the group), then channels in vectors.
    taps = rows.reshape(groups, COLUMN_ROWS, width, channels).transpose(0, 2, 3, 1)
    taps = taps.reshape(groups * width, channels, COLUMN_ROWS)
    taps = taps[:, repeat(np.arange(channels))].reshape(-1, period // LANES, LANES, COLUMN_ROWS)
    index, phase = np.divmod(np.arange(width) * window.width.dilation, window.width.stride)
    line = columns_per_phase(window) * channels
    places = phase * line + index * channels
    group_places = np.arange(groups)[:, None] * (window.width.stride * line)
    starts = starts - 128 * weights.astype(np.int64).sum(0)
    repeated = Rescale(
        repeat(rescale.multipliers),
        repeat(rescale.shifts),
        rescale.offset,
        rescale.low,
        rescale.high,
    )
    return DepthwiseBytes(
        window=window,
        fill=fill,
        channels=channels,
        period=period,
        taps=groups * width,
        offsets=(COLUMN_ROWS * (places + group_places)).reshape(-1).astype(np.int64),
        weights=np.ascontiguousarray(taps.swapaxes(0, 1)),
        terms=repeated.terms(repeat(starts)),
        one_sided=rescale.is_one_sided,
    )


def steps(images: np.ndarray, packed: DepthwiseBytes, out: np.ndarray) -> list[Step]:
    """What writes `out`, int8 (N * output pixels, channels), from contiguous int8 images of shape
    (N, height, width, channels)."""
    window, channels = packed.window, packed.channels
    assert images.dtype == np.int8, images.dtype
    assert images.shape[3] == channels, (images.shape, channels)
    assert out.shape == (images.shape[0] * window.pixels, channels), out.shape
    assert images.flags.c_contiguous
    assert out.flags.c_contiguous
    if not out.size:
        return []
    height, width = window.height, window.width
    blank = np.full(images.shape[2] * channels, packed.fill, np.int8)
    columns = np.empty(packed.groups * width.stride * packed.line + LANES, np.int32)
    vertical = height.out, height.filter, height.stride, height.dilation, height.pad
    horizontal = width.out, width.stride, width.pad
    arrays = columns, packed.weights, packed.terms, packed.offsets
    numbers = packed.fill, packed.period, packed.taps, packed.one_sided
    arguments = (images, blank, *arrays, *numbers, *vertical, *horizontal, out)
    return [(_convolve.ready, arguments)]


def _row(few: bool, builder: Any, *args: Any) -> None:
    """One output row; `few` is for `_FEW` taps."""
    emit = Emitter(builder)
    one_sided = builder.icmp_signed("!=", args[-1], emit.number(0))
    with builder.if_else(one_sided) as branches:
        for branch, signless in zip(branches, (True, False), strict=True):
            with branch:
                _row_vectors(emit, few, signless, *args[:-1])


def _row_vectors(
    emit: Emitter,
    few: bool,
    signless: bool,
    columns: Any,
    weights: Any,
    frame: Any,
    offsets: Any,
    out: Any,
    length: Any,
    period: Any,
    taps: Any,
) -> None:
    """Vectors of a row that lie a period apart share weights and terms."""
    builder = emit.builder
    most = builder.select(builder.icmp_signed("<", period, length), period, length)
    slot = emit.variable(emit.splat(emit.columns, 0))

    def add(total: Any, tap: Any, factors: Any, place: Any) -> Any:
        offset = emit.load(emit.i64, builder.add(offsets, tap))
        values = emit.load(emit.columns, builder.add(offset, place))
        return emit.add_products(total, values, factors)

    with emit.loop(most, LANES) as first:
        vector = builder.udiv(first, emit.number(LANES))
        own = builder.add(frame, builder.mul(vector, emit.number(TERM_BYTES)))
        own = emit.offset(own, TERM_BYTES)
        factors = builder.add(weights, builder.mul(builder.mul(vector, taps), emit.number(64)))
        start = emit.load(emit.columns, own)
        requantize = Requantize(emit, frame, own, one_sided=signless)
        kept = [emit.load(emit.columns, factors, 64 * t) for t in range(_FEW * few)]
        with emit.loop(length, period, first) as position:
            place = builder.add(columns, builder.mul(position, emit.number(COLUMN_ROWS)))
            total = start
            for t, values in enumerate(kept):
                total = add(total, emit.number(8 * t), values, place)
            if not few:
                builder.store(start, slot)
                with emit.loop(taps) as tap:
                    address = builder.add(factors, builder.mul(tap, emit.number(64)))
                    values = emit.load(emit.columns, address)
                    total = emit.value(slot, emit.columns)
                    total = add(total, builder.mul(tap, emit.number(8)), values, place)
                    builder.store(total, slot)
                total = emit.value(slot, emit.columns)
            emit.store(requantize(total), builder.add(out, position))


_ROW_OF_FEW = Intrinsic(functools.partial(_row, True), 9)
_ROW_OF_MANY = Intrinsic(functools.partial(_row, False), 9)


@jit
def _convolve(
    images,
    blank,
    columns,
    weights,
    terms,
    offsets,
    fill,
    period,
    taps,
    one_sided,
    out_y,
    filter_y,
    stride_y,
    dilation_y,
    pad_y,
    out_x,
    stride_x,
    pad_x,
    out,
):
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    source, line = np.int64(images.ctypes.data), np.int64(blank.ctypes.data)
    target, length = np.int64(out.ctypes.data), out_x * channels
    start, frame = np.int64(columns.ctypes.data), np.int64(terms.ctypes.data)
    factors, places = np.int64(weights.ctypes.data), np.int64(offsets.ctypes.data)
    groups = (filter_y + COLUMN_ROWS - 1) // COLUMN_ROWS
    group_bytes = (columns.size - LANES) // groups * 4
    lines = np.empty(COLUMN_ROWS, np.int64)
    room = (length + LANES - 1) // LANES * LANES
    spare, end = np.empty(room, np.int8), target + out.size
    outside = (fill ^ 128) & 255
    for n in range(images.shape[0]):
        for y in range(out_y):
            for group in range(groups):
                for i in range(COLUMN_ROWS):
                    tap = group * COLUMN_ROWS + i
                    row = y * stride_y + tap * dilation_y - pad_y
                    inside = tap < filter_y and 0 <= row < height
                    lines[i] = source + (n * height + row) * width * channels if inside else line
                fill_columns(
                    start + group * group_bytes,
                    group_bytes // stride_x,
                    frame,
                    lines,
                    min(COLUMN_ROWS, filter_y - group * COLUMN_ROWS),
                    outside,
                    width,
                    channels,
                    stride_x,
                    pad_x,
                )
            # A row's last vector ends in the next row, which is written later, if there is one.
            place = target if target + room <= end else np.int64(spare.ctypes.data)
            if taps == _FEW:
                _ROW_OF_FEW(
                    start, factors, frame, places, place, length, period, taps, np.int64(one_sided)
                )
            else:
                _ROW_OF_MANY(
                    start, factors, frame, places, place, length, period, taps, np.int64(one_sided)
                )
            if place != target:
                COPY_BYTES(target, place, length)
            target += length
