"""DEPTHWISE_CONV_2D: loops over the window of each channel."""

from __future__ import annotations

from refmicro.emit.ops._convolution import emit_windows
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Each input channel has `multiplier` filters of its own."""
    data = op.data
    depth = op.input(0).tensor.shape[3]
    channel = "o" if data.multiplier == 1 else f"o / {data.multiplier}"
    source = f"pixel * {depth} + {channel}"
    emit_windows(op, data, (source, f"tap * {data.channels} + o"), inner=1)
