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

from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
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
    """All channels at once."""
    x = (ctx.input(0).astype(np.int64) << data.input_correction_bits) & (2**32 - 1)
    log = natural_log(np.maximum(x, 2), data.output_scale)
    ctx.set_output(0, np.where(x > 1, np.minimum(log, 32767), 0).astype(np.int16))


@functools.cache
def _table() -> np.ndarray:
    """How far log2(1 + i / 128) lies above i / 128, with 16 fractional bits, one entry beyond 1."""
    pieces = 1 << _PIECES_LOG2
    points = [math.log2(1 + i / pieces) - i / pieces for i in range(pieces + 1)]
    return np.array([round(point * (1 << _FRACTION_BITS)) for point in points], np.int64)


def natural_log(x: np.ndarray, scale: int) -> np.ndarray:
    """`Log32` of int64 values in 1..2^32-1: ln(x) * scale, modulo 2^32."""
    integer = _signal.most_significant_bit(x) - 1
    fraction = x - (1 << integer)
    fraction = np.where(
        integer < _FRACTION_BITS,
        fraction << np.maximum(_FRACTION_BITS - integer, 0),
        fraction >> np.maximum(integer - _FRACTION_BITS, 0),
    )
    piece = fraction >> (_FRACTION_BITS - _PIECES_LOG2)
    low, high = _table()[piece], _table()[piece + 1]
    place = fraction - (piece << (_FRACTION_BITS - _PIECES_LOG2))
    # C++ shifts by 16 where 9 would interpolate, so that this part hardly counts.
    log2 = (integer << _FRACTION_BITS) + fraction + low + ((high - low) * place >> _FRACTION_BITS)
    half = 1 << (_FRACTION_BITS - 1)
    natural = (_LN2 * log2 + half) >> _FRACTION_BITS
    return ((scale * natural + half) & (2**32 - 1)) >> _FRACTION_BITS


OP = OpSpec("SignalFilterBankLog", prepare, evaluate, OpData(lp64=8, ilp32=8))
