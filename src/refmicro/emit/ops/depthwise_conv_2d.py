"""DEPTHWISE_CONV_2D: windows of each channel.

All filters of an input of one channel see the same values: that is an ordinary convolution.
"""

from __future__ import annotations

from refmicro.emit.ops import _mema
from refmicro.emit.ops._convolution import emit_windows
from refmicro.emit.ops._depthwise import emit_depthwise
from refmicro.emit.ops.conv_2d import convolution_of
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Each input channel has `multiplier` filters of its own."""
    data = op.data
    depth = op.input(0).tensor.shape[3]
    is_int = data.requantize is not None
    if is_int and depth == 1 and _mema.emit_kernel(op, data, convolution_of(data)):
        return
    if emit_depthwise(op, data):
        return
    channel = "o" if data.multiplier == 1 else f"o / {data.multiplier}"
    source = f"pixel * {depth} + {channel}"
    emit_windows(op, data, (source, f"tap * {data.channels} + o"), inner=1)
