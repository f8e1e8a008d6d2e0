"""MEAN of int8, int16 and float32."""

from __future__ import annotations

from refmicro.emit.c_text import integer, real
from refmicro.emit.ops._product import require_narrow_sums
from refmicro.emit.ops._reduce import emit_reduction
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops._requantize import largest_magnitude


def emit(op: Op) -> None:
    """The sum, then one requantization that holds the division."""
    data = op.data
    if data.requantize is None:
        emit_reduction(op, "0.0f", "float", "sum += value;", f"sum / {real(data.terms)}")
        return
    emit_quantized(op)


def emit_quantized(op: Op) -> None:
    """int32 sums less the zero point of each term."""
    data = op.data
    requantize = data.requantize
    start = -data.input.zero_point * data.terms
    bound = data.terms * largest_magnitude(data.input) + abs(start)
    require_narrow_sums(op, bound)
    pair = requantize.multipliers[0], requantize.shifts[0]
    offset = requantize.output_offset
    value = scaled(op, "sum", *pair, bound=requantize.bound, offset=offset)
    value = clamped(op, value, requantize.low, requantize.high)
    end = f"({op.output().c_type}){value}"
    emit_reduction(op, integer(start), "int32_t", "sum += value;", end)
