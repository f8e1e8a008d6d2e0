"""Many int8 matrices, each times a vector of its own, requantised: AVX-512 with VNNI alone.

16 rows of a matrix are taken at a time, 16 bytes of each: a transposition of 4 x 4 words in each
quarter of a register brings the same four bytes of all rows together, and one instruction adds
their products to 16 sums. The vector becomes unsigned by adding 128, which the sums of the matrix's
rows take off again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refmicro._int8_gemm import Rescale
from refmicro._jit import Intrinsic, jit
from refmicro._vector_code import FLIP, LANES, TERM_BYTES, Emitter, Requantize

CHUNK = 16
"""Bytes of a row that are taken at a time; rows are a multiple of it."""

_GROUP = 4


def is_supported(rows: int, depth: int) -> bool:
    """Whether matrices of this shape can be taken."""
    return rows >= LANES and depth > 0 and depth % CHUNK == 0


def step(
    matrices: np.ndarray,
    vectors: np.ndarray,
    offsets: tuple[int, int],
    bias: int,
    rescale: Rescale,
    out: np.ndarray,
) -> tuple[Callable, tuple]:
    """A function, and the arguments with which it writes the outputs.

    Args:
        matrices: int8 of shape (B, M, K), contiguous; `is_supported`.
        vectors: int8 of shape (B, K), contiguous.
        offsets: added to the values of matrices and of vectors.
        bias: added to each sum.
        rescale: supported, of one column.
        out: int8 of shape (B, M), contiguous.
    """
    assert is_supported(*matrices.shape[1:]), matrices.shape
    assert vectors.shape == (matrices.shape[0], matrices.shape[2]), vectors.shape
    assert out.shape == matrices.shape[:2], out.shape
    arrays = matrices, vectors, out
    assert all(array.flags.c_contiguous and array.dtype == np.int8 for array in arrays)
    count = rescale.multipliers.size
    assert count == 1, count
    columns = Rescale(
        rescale.multipliers.repeat(LANES),
        rescale.shifts.repeat(LANES),
        rescale.offset,
        rescale.low,
        rescale.high,
    )
    terms = columns.terms(np.zeros(LANES, np.int64))
    return _dots.ready, (matrices, vectors, *offsets, bias, terms, rescale.is_one_sided, out)


def _transposed(emit: Emitter, address: Any, step: Any) -> list[Any]:
    """Four vectors of 16 words from 16 rows of four words, `step` bytes apart."""
    builder = emit.builder
    words = emit.ir.VectorType(emit.i32, _GROUP)
    lines = []
    for row in range(LANES):
        place = builder.add(address, builder.mul(step, emit.number(row)))
        lines.append(emit.load(words, place))

    def joined(a: Any, b: Any, lanes: list[int]) -> Any:
        kind = emit.ir.VectorType(emit.i32, len(lanes))
        return builder.shuffle_vector(a, b, emit.ir.Constant(kind, lanes))

    quads = []
    for first in range(_GROUP):
        # Rows `first`, `first` + 4 ... each fill a quarter.
        low = joined(lines[first], lines[first + 4], list(range(8)))
        high = joined(lines[first + 8], lines[first + 12], list(range(8)))
        quads.append(joined(low, high, list(range(LANES))))
    quarters = range(0, LANES, _GROUP)
    even = [q + i for q in quarters for i in (0, LANES, 1, LANES + 1)]
    odd = [q + i for q in quarters for i in (2, LANES + 2, 3, LANES + 3)]
    pairs = [
        (joined(quads[a], quads[a + 1], even), joined(quads[a], quads[a + 1], odd)) for a in (0, 2)
    ]
    lower = [q + i for q in quarters for i in (0, 1, LANES, LANES + 1)]
    upper = [q + i for q in quarters for i in (2, 3, LANES + 2, LANES + 3)]
    return [joined(pairs[0][i], pairs[1][i], lanes) for i in (0, 1) for lanes in (lower, upper)]


def _tile(builder: Any, *args: Any) -> None:
    """16 outputs of one matrix."""
    emit = Emitter(builder)
    matrix, depth, vector, start, factor, frame, one_sided, out = args
    flip = emit.load(emit.columns, frame, FLIP)
    sums = emit.variable(emit.broadcast(emit.columns, builder.trunc(start, emit.i32)))
    totals = emit.variable(emit.splat(emit.columns, 0))
    ones = emit.splat(emit.columns, 0x01010101)
    with emit.loop(depth, CHUNK) as place:
        rows = _transposed(emit, builder.add(matrix, place), depth)
        for i, row in enumerate(rows):
            word = emit.load(emit.i32, builder.add(vector, place), _GROUP * i)
            values = builder.xor(emit.broadcast(emit.columns, word), flip)
            for slot, unsigned in ((sums, values), (totals, ones)):
                total = emit.value(slot, emit.columns)
                builder.store(emit.add_products(total, unsigned, row), slot)
    factors = emit.broadcast(emit.columns, builder.trunc(factor, emit.i32))
    taken_off = builder.mul(emit.value(totals, emit.columns), factors)
    result = builder.add(emit.value(sums, emit.columns), taken_off)
    terms = emit.offset(frame, TERM_BYTES)
    with builder.if_else(builder.icmp_signed("!=", one_sided, emit.number(0))) as branches:
        for branch, signless in zip(branches, (True, False), strict=True):
            with branch:
                emit.store(Requantize(emit, frame, terms, one_sided=signless)(result), out)


_TILE = Intrinsic(_tile, 8)


@jit
def _dots(matrices, vectors, matrix_offset, vector_offset, bias, terms, one_sided, out):
    rows, depth = matrices.shape[1], matrices.shape[2]
    source, target = np.int64(matrices.ctypes.data), np.int64(out.ctypes.data)
    vector, frame = np.int64(vectors.ctypes.data), np.int64(terms.ctypes.data)
    signless = np.int64(one_sided)
    for n in range(matrices.shape[0]):
        total = np.int64(0)
        for k in range(depth):
            total += vectors[n, k]
        start = bias + matrix_offset * (total + depth * vector_offset)
        # The bytes of the vector are 128 larger.
        factor = vector_offset - 128
        row = 0
        while row < rows:
            # The last tile may compute rows again.
            row = min(row, rows - LANES)
            place = source + row * depth
            _TILE(place, depth, vector, start, factor, frame, signless, target + row)
            row += LANES
        source += rows * depth
        vector += depth
        target += rows
