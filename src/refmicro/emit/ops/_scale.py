"""Requantization as C expressions, with multipliers baked in."""

from __future__ import annotations

from refmicro.emit.c_text import integer
from refmicro.emit.unit import Op

_INT32 = 1 << 31

_SATURATED = {
    (-128, 127): "saturated_int8",
    (0, 255): "saturated_uint8",
    (-32768, 32767): "saturated_int16",
}
"""Helpers that Cortex-M3 and later have as one instruction."""


def scaled(
    op: Op, x: str, multiplier: int, shift: int, *, bound: int = _INT32, offset: int = 0
) -> str:
    """The expression of `MultiplyByQuantizedMultiplier(x, multiplier, shift) + offset`.

    Args:
        op: who needs it.
        x: an int32 expression.
        multiplier, shift: as in TFLM, shift > 0 is left.
        bound: no x is larger in magnitude; the result is known to fit int32.
        offset: added to the result.
    """
    if multiplier == 0:
        return integer(offset)
    right = -shift
    if right > 0:
        half = 1 << (right - 1)
        high = (bound * multiplier >> 31) + 2
        rounding = half + (offset << right)
        if high + abs(rounding) + half < _INT32 and -_INT32 <= rounding < _INT32:
            return f"scaled({x}, {multiplier}, {integer(rounding)}, {right})"
        return _plus(f"rescaled({x}, {multiplier}, {shift})", offset)
    if shift > 0 and bound << shift < _INT32:
        x = f"({x}) * {1 << shift}"
    elif shift > 0:
        x = f"(int32_t)((uint32_t)({x}) << {shift})"
    return _plus(f"doubled_high({x}, {multiplier})", offset)


def clamped(op: Op, x: str, low: int, high: int) -> str:
    """The expression of `x` limited to low..high."""
    if (low, high) in _SATURATED:
        return f"{_SATURATED[low, high]}({x})"
    return f"clamp({x}, {integer(low)}, {integer(high)})"


def _plus(x: str, offset: int) -> str:
    return x if offset == 0 else f"{x} {'+' if offset > 0 else '-'} {integer(abs(offset))}"
