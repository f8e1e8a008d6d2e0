"""Image rows interleaved byte by byte, for kernels that multiply bytes in groups of four.

A "column" has 32 bits: one channel of one image column in up to four rows.
"""

from __future__ import annotations

import functools
from typing import Any

from refmicro._jit import Intrinsic, jit
from refmicro._vector_code import FILL_BYTES, FLIP, LANES, Emitter

COLUMN_ROWS = 4
"""Bytes of a column."""


def _interleave(rows: int, builder: Any, target: Any, frame: Any, *args: Any) -> None:
    """`count` columns of the first `rows` lines; up to 15 columns more are written.

    All bytes are flipped by an exclusive or with what stands at `frame` + `FLIP`.
    """
    emit = Emitter(builder)
    lines, count = args[:rows], args[-1]
    flip = emit.load(emit.columns, frame, FLIP)

    def write(start: Any, values: list[Any]) -> None:
        column = flip
        for i, value in enumerate(values):
            wide = builder.zext(value, emit.columns)
            column = builder.xor(column, builder.shl(wide, emit.splat(emit.columns, 8 * i)))
        emit.store(column, builder.add(target, builder.mul(start, emit.number(COLUMN_ROWS))))

    whole = builder.and_(count, emit.number(-LANES))
    with emit.loop(whole, LANES) as start:
        write(start, [emit.load(emit.bytes, builder.add(line, start)) for line in lines])
    with builder.if_then(builder.icmp_signed("<", whole, count)):
        mask = emit.first_lanes(builder.sub(count, whole), LANES)
        write(whole, [emit.masked_load(builder.add(line, whole), mask) for line in lines])


_INTERLEAVE_3 = Intrinsic(functools.partial(_interleave, 3), 7)
_INTERLEAVE_4 = Intrinsic(functools.partial(_interleave, 4), 7)


@jit
def fill_columns(target, phase_bytes, frame, lines, rows, outside, width, channels, stride, pad):
    """Columns of up to four lines, sorted by their remainder modulo the stride.

    Args:
        target: address of int32 columns, with room for 15 more.
        phase_bytes: of the columns with one remainder.
        frame: see `_interleave`.
        lines: addresses of four rows of an image; of those beyond `rows` only the first byte's
            address must be a number.
        outside: the byte of columns outside of the image, flipped.
        width, channels: of the image.
        stride, pad: along the width.
    """
    a, b, c, d = lines[0], lines[1], lines[2], lines[3]
    pixel = 4 * channels
    count = phase_bytes // pixel
    for phase in range(stride):
        # Columns first..last - 1 of this line are those of the image.
        first = min(count, max(0, -((phase - pad) // stride)))
        last = max(first, min(count, (width - 1 - phase + pad) // stride + 1))
        FILL_BYTES(target, outside, first * pixel)
        step = channels if stride > 1 else (last - first) * channels
        place = target + first * pixel
        byte = (first * stride + phase - pad) * channels
        while place < target + last * pixel:
            if rows <= 3:
                _INTERLEAVE_3(place, frame, a + byte, b + byte, c + byte, d + byte, step)
            else:
                _INTERLEAVE_4(place, frame, a + byte, b + byte, c + byte, d + byte, step)
            place += 4 * step
            byte += step * stride
        FILL_BYTES(target + last * pixel, outside, (count - last) * pixel)
        target += phase_bytes
