"""LOGISTIC: int8 by a table of all results; int16 by TFLM's table and interpolation."""

from __future__ import annotations

from refmicro.emit.ops._sigmoid import emit_sigmoid
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = 1 / (1 + e^-x)."""
    emit_sigmoid(op, "logistic_int16", largest_power=0)
