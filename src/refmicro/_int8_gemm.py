"""Products of int8 matrices with constant int8 weights, requantised: AVX-512 with VNNI alone.

`vpdpbusd` adds four products of unsigned with signed bytes to an int32. Inputs become unsigned by
adding 128; 128 times the sum of the weights is taken off in what each sum starts from, together
with the bias. Sums wrap like TFLM's, so they are right whatever their size. A tile of sums stays in
registers until it is bytes; `docs/decisions/0010-int8-products-with-vnni.md` has the measurements.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro._jit import Intrinsic, has_byte_products, jit
from refmicro._vector_code import FLIP, HIGH, LANES, LOW, TERM_BYTES, Emitter, Requantize

GROUP = 4
"""Rows are taken in groups of so many bytes."""

_MOST_VECTORS = 4
_PANEL_BYTES = 96 << 10
"""Rows and outputs that one block of columns passes over before the next one does."""


@dataclass(frozen=True)
class Rescale:
    """How sums become int8: `Requantizer` in plain values.

    Attributes:
        multipliers, shifts: int64, one a column; shifts in -23..-1.
        offset: zero point of the output.
        low, high: limits of the output.
    """

    multipliers: np.ndarray
    shifts: np.ndarray
    offset: int
    low: int
    high: int

    @property
    def is_supported(self) -> bool:
        """Whether the rule of `_vector_code.Requantize` holds and this processor can run it."""
        shifts = self.shifts
        narrow = bool(shifts.size and shifts.min() >= -23 and shifts.max() <= -1)
        return narrow and bool((self.multipliers > 0).all()) and has_byte_products()

    @property
    def is_one_sided(self) -> bool:
        """Whether outputs of negative sums are clamped away."""
        return self.offset <= self.low

    def terms(self, starts: np.ndarray) -> np.ndarray:
        """What kernels read, uint8 of shape (1 + blocks of 16 columns, `TERM_BYTES`).

        Args:
            starts: int64, what each column's sum starts from; taken modulo 2^32.
        """
        right = 31 - self.shifts
        addends = (1 << 30) + (1 << (right - 1)) + (self.offset << right)
        count = -(-starts.size // LANES)

        def columns(values: np.ndarray) -> np.ndarray:
            return np.pad(values, (0, count * LANES - values.size)).reshape(count, LANES)

        out = np.zeros((1 + count, TERM_BYTES), np.uint8)
        out[0, FLIP : FLIP + 64] = 0x80
        for place, limit in ((HIGH, self.high), (LOW, self.low)):
            out[0, place : place + 64] = np.full(LANES, limit, np.int32).view(np.uint8)
        addends, right = columns(addends), columns(right)
        parts = [
            columns(starts).astype(np.int32),
            columns(self.multipliers).astype(np.int32),
            *(addends[:, ::2], addends[:, 1::2]),
            # An odd column's value is shifted into the upper half of its 64 bits.
            *(right[:, ::2], np.maximum(right[:, 1::2] - 32, 0)),
        ]
        joined = [np.ascontiguousarray(part).view(np.uint8) for part in parts]
        out[1:] = np.concatenate(joined, 1)
        return out


@dataclass(frozen=True)
class PackedWeights:
    """Constant weights and all that follows their sums, as the kernel walks over them.

    Attributes:
        depth: bytes of a row, a multiple of `GROUP`.
        channels: columns.
        weights: int8, block of columns after block: (depth / 4, vectors of the block, 16, 4).
        terms: of `Rescale`.
        one_sided: of `Rescale`.
    """

    depth: int
    channels: int
    weights: np.ndarray
    terms: np.ndarray
    one_sided: bool


def pack(weights: np.ndarray, starts: np.ndarray, rescale: Rescale) -> PackedWeights:
    """Weights for `product`.

    Args:
        weights: integers that fit int8, shape (K, N); K is filled up with zeros.
        starts: int64 of shape (N,), the bias.
        rescale: supported.
    """
    depth, channels = weights.shape
    groups, vectors = -(-depth // GROUP), -(-channels // LANES)
    full = np.zeros((groups * GROUP, vectors * LANES), np.int8)
    full[:depth, :channels] = weights
    full = full.reshape(groups, GROUP, vectors, LANES).transpose(2, 0, 3, 1)
    parts, done = [], 0
    for width in _widths(vectors):
        parts.append(full[done : done + width].swapaxes(0, 1).reshape(-1))
        done += width
    starts = starts - 128 * weights.astype(np.int64).sum(0)
    terms = rescale.terms(starts)
    return PackedWeights(
        groups * GROUP, channels, np.concatenate(parts), terms, rescale.is_one_sided
    )


def _widths(vectors: int) -> list[int]:
    """Vectors of each block of columns: as few blocks as can be, nearly even; the kernel counts in
    the same way."""
    blocks = -(-vectors // _MOST_VECTORS)
    return [(vectors + blocks - 1 - block) // blocks for block in range(blocks)]


def fit(rows: np.ndarray, packed: PackedWeights) -> np.ndarray:
    """int8 rows of shape (R, K) as `product` takes them: a copy, unless they are so already."""
    if rows.shape[1] == packed.depth:
        return np.ascontiguousarray(rows)
    out = np.zeros((rows.shape[0], packed.depth), np.int8)
    out[:, : rows.shape[1]] = rows
    return out


def product(rows: np.ndarray, packed: PackedWeights, out: np.ndarray) -> None:
    """Outputs of rows times weights; arguments are those of `product_step`."""
    function, arguments = product_step(rows, packed, out)
    function(*arguments)


def product_step(
    rows: np.ndarray, packed: PackedWeights, out: np.ndarray
) -> tuple[Callable, tuple]:
    """A function, and the arguments with which it writes rows times weights.

    Args:
        rows: int8 of shape (R, `packed.depth`), contiguous.
        packed: weights.
        out: int8 of shape (R, `packed.channels`), contiguous.
    """
    depth, channels = packed.depth, packed.channels
    assert rows.shape == (out.shape[0], depth), (rows.shape, packed.depth)
    assert out.shape[1] == channels, (out.shape, channels)
    assert rows.dtype == out.dtype == np.int8, (rows.dtype, out.dtype)
    assert rows.flags.c_contiguous
    assert out.flags.c_contiguous
    panel = max(2 * _ROWS[1], _PANEL_BYTES // (depth + channels))
    return _product.ready, (rows, packed.weights, packed.terms, packed.one_sided, panel, out)


def _tile(rows: int, vectors: int, builder: Any, *args: Any) -> None:
    """`rows` times 16 * `vectors` sums, in registers from start to bytes."""
    emit = Emitter(builder)
    address, out, step, out_step, segments, segment_step, groups, weights, *rest = args
    flip, frame, terms, columns, one_sided = rest
    flip = emit.load(emit.columns, flip)
    lines, targets = [address], [out]
    for _ in range(1, rows):
        lines.append(builder.add(lines[-1], step))
        targets.append(builder.add(targets[-1], out_step))
    starts = [emit.load(emit.columns, terms, v * TERM_BYTES) for v in range(vectors)]
    sums = [[emit.variable(start) for start in starts] for _ in lines]
    vector_bytes = emit.number(64 * vectors)
    with emit.loop(segments) as segment, emit.loop(groups) as group:
        done = builder.add(builder.mul(segment, groups), group)
        base = builder.add(weights, builder.mul(done, vector_bytes))
        factors = [emit.load(emit.columns, base, 64 * v) for v in range(vectors)]
        place = builder.mul(group, emit.number(GROUP))
        place = builder.add(place, builder.mul(segment, segment_step))
        for line, row in zip(lines, sums, strict=True):
            values = emit.broadcast(emit.columns, emit.load(emit.i32, builder.add(line, place)))
            values = builder.xor(values, flip)
            for slot, factor in zip(row, factors, strict=True):
                total = emit.add_products(emit.value(slot, emit.columns), values, factor)
                builder.store(total, slot)
    place = emit.offset(columns, -LANES * (vectors - 1))
    mask = emit.first_lanes(place, LANES)
    ways = builder.if_else(builder.icmp_signed("!=", one_sided, emit.number(0)))
    with ways as branches:
        for branch, signless in zip(branches, (True, False), strict=True):
            with branch:
                for v in range(vectors):
                    own = emit.offset(terms, v * TERM_BYTES)
                    requantize = Requantize(emit, frame, own, one_sided=signless)
                    for row, target in zip(sums, targets, strict=True):
                        result = requantize(emit.value(row[v], emit.columns))
                        target = emit.offset(target, LANES * v)
                        if v == vectors - 1:
                            emit.masked_store(result, target, mask)
                        else:
                            emit.store(result, target)


def _intrinsic(rows: int, vectors: int) -> Intrinsic:
    return Intrinsic(functools.partial(_tile, rows, vectors), 13)


_ROWS = (0, 12, 12, 8, 6)
"""Rows of a tile of so many vectors: enough sums to hide the latency, few enough for registers."""

_TALL_1, _TALL_2, _TALL_3, _TALL_4 = (_intrinsic(_ROWS[v], v) for v in (1, 2, 3, 4))
_FLAT_1, _FLAT_2, _FLAT_3, _FLAT_4 = (_intrinsic(1, v) for v in (1, 2, 3, 4))


@jit
def _product(rows, weights, terms, one_sided, panel, out):
    """Panels of rows that stay in the second-level cache meet one block of columns after another,
    whose weights stay in the first."""
    depth, channels = rows.shape[1], out.shape[1]
    source, target = np.int64(rows.ctypes.data), np.int64(out.ctypes.data)
    factors, frame = np.int64(weights.ctypes.data), np.int64(terms.ctypes.data)
    for first in range(0, rows.shape[0], panel):
        multiply_rows(
            source + first * depth,
            depth,
            # Not the literals: numba would compile the kernel once more for them.
            np.int64(1),
            np.int64(0),
            depth,
            factors,
            frame,
            frame,
            target + first * channels,
            channels,
            one_sided,
            min(panel, rows.shape[0] - first),
        )


@jit
def multiply_rows(
    source,
    step,
    segments,
    segment_step,
    depth,
    weights,
    flip,
    frame,
    target,
    channels,
    one_sided,
    count,
):
    """`count` rows, `step` apart, times all columns.

    A row is made of `segments` of so many bytes each, `segment_step` apart, `depth` in all.
    Addresses are those of the first row, of `PackedWeights.weights` and `terms`, and of the output;
    at `flip` stand 64 bytes that make rows unsigned.
    """
    vectors = (channels + LANES - 1) // LANES
    blocks = (vectors + _MOST_VECTORS - 1) // _MOST_VECTORS
    groups, done = depth // segments // GROUP, 0
    for block in range(blocks):
        width = (vectors + blocks - 1 - block) // blocks
        shared = (
            step,
            channels,
            segments,
            segment_step,
            groups,
            weights + done * LANES * depth,
            flip,
            frame,
            frame + (1 + done) * TERM_BYTES,
            channels - done * LANES,
            np.int64(one_sided),
        )
        row, tall = 0, _ROWS[width]
        while row < count:
            if count >= tall:
                # The last tile may compute rows again, in place of a smaller one.
                row = min(row, count - tall)
            a, o = source + row * step, target + row * channels + done * LANES
            if count >= tall:
                row += tall
                if width == 1:
                    _TALL_1(a, o, *shared)
                elif width == 2:
                    _TALL_2(a, o, *shared)
                elif width == 3:
                    _TALL_3(a, o, *shared)
                else:
                    _TALL_4(a, o, *shared)
            else:
                row += 1
                if width == 1:
                    _FLAT_1(a, o, *shared)
                elif width == 2:
                    _FLAT_2(a, o, *shared)
                elif width == 3:
                    _FLAT_3(a, o, *shared)
                else:
                    _FLAT_4(a, o, *shared)
        done += width
