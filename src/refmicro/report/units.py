"""Sizes and counts as people write and read them."""

from __future__ import annotations

import re
from fractions import Fraction

from refmicro.errors import UsageError

_FACTORS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_quantity(text: str, what: str) -> int:
    """`64KiB` to 65536, `5M` to 5000000.

    Raises:
        UsageError: if it is no number with a known unit.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None or len(text) > 40:
        raise UsageError(f"{what} must be a number with a unit such as 64KiB, 250kB or 5M: {text}")
    return round(Fraction(match[1]) * factor)


def counted(count: int, noun: str) -> str:
    """`1 value`, `12,345 values`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_bytes(count: int) -> str:
    """`12345` to `12,345 B (12.1 KiB)`."""
    return f"{count:,} B" if count < 1024 else f"{count:,} B ({count / 1024:.1f} KiB)"


def show_count(count: int) -> str:
    """`1234567` to `1.23 M`."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return str(count)
