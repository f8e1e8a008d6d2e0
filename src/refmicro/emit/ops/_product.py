"""Sums of products in plain C, for what no generated kernel covers."""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import integer
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops._product import Product
from refmicro.ops._requantize import Requantizer
from refmicro.types import DType

_INT32 = 1 << 31


def require_narrow_sums(op: Op, bound: int) -> None:
    """Sums of int8 products must fit int32 here; TFLM's wrap, C leaves that undefined."""
    if bound >= _INT32:
        op.refuse("has sums that may overflow int32")


def folded_bias(op: Op, data: Product, *, fold: bool = True) -> np.ndarray | None:
    """The bias as TFLM's type, with the input's zero point times the filter in it; None for zeros.

    `fold` is False where the filter is computed.
    """
    if data.has_computed_bias:
        op.refuse("has a bias that the graph computes")
    bias = data.folded_bias if fold else data.constant_bias
    wide = data.requantize.wide
    if not wide:
        largest = int(np.abs(bias).max(initial=0))
        require_narrow_sums(op, (data.raw_bound if fold else data.bound) + largest)
    if not bias.any():
        return None
    return bias.astype(np.int64 if wide else np.int32)


def per_channel(requantize: Requantizer) -> bool:
    """Whether channels have multipliers of their own."""
    return len(set(zip(requantize.multipliers, requantize.shifts, strict=True))) > 1


def constants_of(op: Op, requantize: Requantizer) -> list[tuple[str, str, str]]:
    """Parameters of the multipliers, none where one serves all channels."""
    if not per_channel(requantize):
        return []
    multipliers = op.constant("multipliers", np.array(requantize.multipliers, np.int32))
    shifts = op.constant("shifts", np.array(requantize.shifts, np.int8))
    return [
        ("const int32_t *", "multipliers", multipliers),
        ("const int8_t *", "shifts", shifts),
    ]


def requantized(op: Op, requantize: Requantizer, total: str, channel: str, bound: int) -> str:
    """The expression of one output from its sum."""
    low, high, offset = requantize.low, requantize.high, requantize.output_offset
    tail = f" {'+' if offset > 0 else '-'} {integer(abs(offset))}" if offset else ""
    if requantize.wide or per_channel(requantize):
        many = per_channel(requantize)
        helper = "rescaled_wide" if requantize.wide else "rescaled"
        multiplier = f"multipliers[{channel}]" if many else str(requantize.multipliers[0])
        shift = f"shifts[{channel}]" if many else str(requantize.shifts[0])
        value = f"{helper}({total}, {multiplier}, {shift}){tail}"
    else:
        pair = requantize.multipliers[0], requantize.shifts[0]
        value = scaled(op, total, *pair, bound=bound, offset=offset)
    c_type = {1: "int8_t", 2: "int16_t"}[requantize.dtype.itemsize]
    return f"({c_type}){clamped(op, value, low, high)}"


def sum_type(requantize: Requantizer | None) -> str:
    """The C type of sums."""
    if requantize is None:
        return "float"
    return "int64_t" if requantize.wide else "int32_t"


def is_float(op: Op) -> bool:
    """Whether the operator works on float32."""
    return op.input(0).tensor.dtype is DType.FLOAT32
