"""AVERAGE_POOL_2D of int8, int16 and float32."""

from __future__ import annotations

from refmicro.emit.ops._pooling import emit_pooling
from refmicro.emit.unit import Op

_MEAN = "result = (result > 0 ? result + count / 2 : result - count / 2) / count;"


def emit(op: Op) -> None:
    """The mean of what falls on the image, halves away from zero."""
    end = "result = result / (float)count;", _MEAN
    emit_pooling(op, ("0.0f", "0"), "result += value;", end)
