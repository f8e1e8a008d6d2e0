"""CONV_2D: by a kernel that is generated for the shape, else loops over the window."""

from __future__ import annotations

from refmicro.emit.ops import _mema
from refmicro.emit.ops._convolution import emit_windows
from refmicro.emit.ops._product import per_channel
from refmicro.emit.unit import Op
from refmicro.mema.problem import Convolution
from refmicro.ops.conv_2d import Conv2D


def emit(op: Op) -> None:
    """output = requantize(patches x filter^T + bias)."""
    data = op.data
    plain = data.requantize is not None and data.groups == 1
    if plain and _mema.emit_kernel(op, data, convolution_of(data)):
        return
    x, w = op.input(0).tensor, op.input(1).tensor
    inner, depth = w.shape[3], x.shape[3]
    per_group = data.channels // data.groups
    group = f" + o / {per_group} * {inner}" if data.groups > 1 else ""
    term = " + k" if inner > 1 else ""
    source = f"pixel * {depth}{group}{term}"
    weight = f"(o * {data.window.taps} + tap) * {inner}{term}"
    emit_windows(op, data, (source, weight), inner=inner)


def convolution_of(data: Conv2D) -> Convolution:
    """What a generated kernel has to compute."""
    x, rows, columns = data.input, data.window.height, data.window.width
    return Convolution(
        images=x.shape[0],
        input_height=rows.size,
        input_width=columns.size,
        input_depth=x.shape[3],
        output_depth=data.channels,
        output_height=rows.out,
        output_width=columns.out,
        filter_height=rows.filter,
        filter_width=columns.filter,
        stride_height=rows.stride,
        stride_width=columns.stride,
        dilation_height=rows.dilation,
        dilation_width=columns.dilation,
        pad_height=rows.pad,
        pad_width=columns.pad,
        input_bits=8 * x.dtype.numpy.itemsize,
        per_channel=per_channel(data.requantize),
        bias=bool(data.constant_bias.any()),
    )
