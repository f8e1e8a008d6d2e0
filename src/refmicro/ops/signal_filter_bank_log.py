"""SignalFilterBankLog, a custom operator: output = min(ln(input << input_correction_bits) * scale).

The logarithm has 16 fractional bits, from a table of 128 pieces of log2 between powers of two; 0
and 1 give 0, and the result saturates at 32767.

Shapes: input and output vectors.
Quantization: uint32, output int16.
Persistent: 8 bytes. Options: `input_correction_bits`, `output_scale`.
Differs: outputs of another length are refused; TFLM would write past their end or leave values out.
Source: `signal/micro/kernels/filter_bank_log.cc`, `signal/src/filter_bank_log.cc`,
`signal/src/log.cc`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._signal import bit_length
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType

_PIECES_LOG2 = 7
_FRACTION_BITS = 16
_LN2 = 45426
"""ln(2) with 16 fractional bits."""


@dataclass(frozen=True)
class FilterBankLog:
    """Options."""

    input_correction_bits: int
    output_scale: int


def prepare(ctx: PrepareContext) -> FilterBankLog:
    """Check types and sizes."""
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    _signal.require_tensor(ctx, "input", x, DType.UINT32, 1)
    _signal.require_tensor(ctx, "output", output, DType.INT16, 1)
    ctx.require_shape(
        output.elements == x.elements, f"output must hold {x.elements} values", output.elements
    )
    bits, scale = _signal.options_at(ctx, 0, 1)
    _signal.require_shift(ctx, "input_correction_bits", bits, 32)
    return FilterBankLog(bits, scale % 2**32)


def evaluate(ctx: EvalContext, data: FilterBankLog) -> None:
    """All channels."""
    x = ctx.input(0)
    out = np.empty(x.shape, np.int16)
    _logarithms(x, _table(), data.input_correction_bits, data.output_scale, out)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: FilterBankLog) -> list[Step] | None:
    """One call for all channels."""
    x, out = ctx.input(0), ctx.output(0)
    if x.shape[0] != ctx.rows:
        return None
    options = data.input_correction_bits, data.output_scale
    return [(_logarithms.ready, (x, _table(), *options, out))]


@functools.cache
def _table() -> np.ndarray:
    """How far log2(1 + i / 128) lies above i / 128, with 16 fractional bits, one entry beyond 1."""
    pieces = 1 << _PIECES_LOG2
    points = [math.log2(1 + i / pieces) - i / pieces for i in range(pieces + 1)]
    return np.array([round(point * (1 << _FRACTION_BITS)) for point in points], np.int64)


@jit
def _logarithms(x, table, correction, scale, out):
    for row in range(out.shape[0]):
        for i in range(out.shape[1]):
            value = (np.int64(x[row, i]) << correction) & 0xFFFFFFFF
            log = min(_natural_log(max(value, 2), table, scale), 32767)
            out[row, i] = np.int16(log if value > 1 else 0)


@jit(inline=True)
def _natural_log(x, table, scale):
    """`Log32` of values in 2..2^32-1: ln(x) * scale, modulo 2^32."""
    integer = bit_length(x) - 1
    rest = x - (1 << integer)
    up, down = max(_FRACTION_BITS - integer, 0), max(integer - _FRACTION_BITS, 0)
    fraction = (rest << up) >> down
    piece = fraction >> (_FRACTION_BITS - _PIECES_LOG2)
    low, high = table[np.uint64(piece)], table[np.uint64(piece + 1)]
    place = fraction - (piece << (_FRACTION_BITS - _PIECES_LOG2))
    # C++ shifts by 16 where 9 would interpolate, so that this part hardly counts.
    log2 = (integer << _FRACTION_BITS) + fraction + low + ((high - low) * place >> _FRACTION_BITS)
    half = 1 << (_FRACTION_BITS - 1)
    natural = (_LN2 * log2 + half) >> _FRACTION_BITS
    return ((scale * natural + half) & 0xFFFFFFFF) >> _FRACTION_BITS


OP = OpSpec("SignalFilterBankLog", prepare, evaluate, OpData(lp64=8, ilp32=8), bind=bind)
