"""TRANSPOSE_CONV: every input pixel adds a filter to the output, `stride` pixels apart.

output[n, y, x, o] = act(requantize(sum (in[n, i, j, c] - zx) * filter[o, y - i * s + p, x - j * s +
p, c] + bias[o])), summed over the i, j, c for which the filter has such a position.
Shapes: output shape (not read), filter (O, filter height, filter width, C), input (N, height,
width, C), bias (O) or absent, output (N, any height, any width, O). The padding p is that of a
convolution which would make the input of the output.
Quantization: int8 with int8 filter and int32 bias; int16 with int8 filter and int64 or int16 bias,
where zero points are not used; float32, summed in the order of the input. Filters are symmetric,
with one scale or one a channel; multipliers come from double products.
Scratch: int8 4 bytes an output element, int16 8; an int16 bias 8 bytes a value.
Persistent: 4 bytes an output channel, twice.
Differs: int8 sums that overflow int32 wrap. Computed filters and biases are refused. Which NaN a
float is, is not promised.
Source: `tensorflow/lite/micro/kernels/transpose_conv.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}transpose_conv.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro import _gemm
from refmicro._gemm import add_bias_and_clamp, add_products
from refmicro._jit import jit
from refmicro.ops._activation import float_range
from refmicro.ops._convolution import (
    Convolution,
    per_channel_requantizer,
    require_image,
)
from refmicro.ops._product import blocks, require_bias, require_type_option
from refmicro.ops._spec import EvalContext, Node, OpData, OpSpec, PrepareContext
from refmicro.ops._window import Axis, prepare_window
from refmicro.types import DType, Tensor

_FILTER, _INPUT, _BIAS = 1, 2, 3
_FILTERS = {DType.FLOAT32: DType.FLOAT32, DType.INT8: DType.INT8, DType.INT16: DType.INT8}
_BIASES = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT32,),
    DType.INT16: (DType.INT64, DType.INT16),
}
_SUM_BYTES = {DType.INT8: 4, DType.INT16: 8}


def prepare(ctx: PrepareContext) -> Convolution:
    """Check types and shapes, derive padding and multipliers."""
    require_type_option(ctx, "quantized_bias_type")
    output, x, w = ctx.output(0), ctx.input(_INPUT), ctx.input(_FILTER)
    ctx.require_type("input", x, *_FILTERS)
    ctx.require_type(f"filter of {x.dtype} input", w, _FILTERS[x.dtype])
    for what, tensor in (("input", x), ("filter", w), ("output", output)):
        require_image(ctx, what, tensor)
    channels = w.shape[0]
    ctx.persistent(4 * channels)
    ctx.persistent(4 * channels)
    quantized = x.dtype in _SUM_BYTES
    if quantized:
        ctx.scratch(_SUM_BYTES[x.dtype] * output.elements)
    count = len(ctx.node.inputs)
    ctx.require(count in (3, 4), "must have 3 or 4 inputs", count)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    bias = ctx.node.input(_BIAS)
    requantize = None
    _check_shapes(ctx, x, w, bias, output)
    if quantized:
        ctx.input(_INPUT), ctx.input(_FILTER), ctx.optional_input(_BIAS), ctx.output(0)
        wide = x.dtype is DType.INT16
        requantize = per_channel_requantizer(ctx, x, w, output, 0, wide=wide)
        requantize = requantize.without_offset() if wide else requantize
        if bias is not None and bias.dtype is DType.INT16:
            ctx.scratch(8 * bias.elements)
    return Convolution(
        input=x,
        filter=w,
        bias=bias,
        output=output,
        depth=w.elements // channels,
        channels=channels,
        input_zero_point=x.zero_point if x.dtype is DType.INT8 else 0,
        filter_offset=0,
        requantize=requantize,
        float_limits=float_range(ctx.options.get("fused_activation_function", 0)),
        # The window of the convolution from the output back to the input.
        window=prepare_window(ctx, output.shape, x.shape, w.shape[1:3]),
    )


def _check_shapes(
    ctx: PrepareContext, x: Tensor, w: Tensor, bias: Tensor | None, output: Tensor
) -> None:
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    for what, one, other in (
        ("images of input and output", x.shape[0], output.shape[0]),
        ("input channels of input and filter", x.shape[3], w.shape[3]),
        ("output channels of filter and output", w.shape[0], output.shape[3]),
    ):
        ctx.require_shape(one == other, f"{what} must agree", f"{one} and {other}")
    require_bias(ctx, bias, w.shape[0], *_BIASES[x.dtype])
    ctx.require(w.is_constant, "the filter must be constant", "computed")
    ctx.require(bias is None or bias.is_constant, "the bias must be constant", "computed")


def evaluate(ctx: EvalContext, data: Convolution) -> None:
    """One product for each position of the filter, added to the pixels that it touches."""
    x = ctx.input(_INPUT)
    images = x.reshape(-1, *x.shape[2:])
    if data.requantize is None:
        out = _evaluate_float(data, images)
    else:
        pixels = data.output.elements // data.output.shape[0] // data.channels
        out = np.empty((images.shape[0] * pixels, data.channels), data.output.dtype.numpy)
        for block in blocks(images.shape[0], 16 * pixels * data.channels):
            part = out[block.start * pixels : block.stop * pixels]
            sums = _sums(data, images[block]).reshape(-1, data.channels)
            data.bounded(sums, data.constant_bias, out=part, total_rows=out.shape[0])
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def _touched(axis: Axis, tap: int) -> tuple[slice, slice]:
    """(inputs, outputs) along one axis that a filter position connects; the axis is that of the
    convolution from output to input, so `size` counts outputs and `out` inputs."""
    first = max(0, -((tap - axis.pad) // axis.stride))
    last = min(axis.out - 1, (axis.size - 1 - tap + axis.pad) // axis.stride)
    start = first * axis.stride - axis.pad + tap
    count = max(0, last - first + 1)
    stop = start + count * axis.stride
    return slice(first, first + count), slice(start, stop, axis.stride)


def _sums(data: Convolution, images: np.ndarray) -> np.ndarray:
    """Exact sums as float32 or float64, (N, output height, output width, channels)."""
    height, width = data.window.height, data.window.width
    dtype = _gemm.accumulator_dtype(data.bound)
    weights = data.weights.astype(dtype)
    weights = weights.reshape(height.filter, width.filter, -1, data.channels)
    values = images.astype(dtype) - dtype.type(data.input_zero_point)
    sums = np.zeros((images.shape[0], height.size, width.size, data.channels), dtype)
    for i in range(height.filter):
        rows, output_rows = _touched(height, i)
        for j in range(width.filter):
            columns, output_columns = _touched(width, j)
            sums[:, output_rows, output_columns] += values[:, rows, columns] @ weights[i, j]
    return sums


def _evaluate_float(data: Convolution, images: np.ndarray) -> np.ndarray:
    height, width = data.window.height, data.window.width
    weights = data.weights.reshape(height.filter, width.filter, -1, data.channels)
    weights = np.ascontiguousarray(weights)
    out = np.zeros((images.shape[0], height.size, width.size, data.channels), np.float32)
    steps = height.stride, height.pad, width.stride, width.pad
    bias = np.zeros(data.channels, np.float32)
    if data.bias is not None:
        bias = data.bias.array().reshape(-1)[: data.channels]
    _scatter(np.ascontiguousarray(images), weights, bias, *steps, *data.float_limits, out)
    return out


@jit
def _scatter(images, weights, bias, stride_y, pad_y, stride_x, pad_x, low, high, out):
    """`weights` is (filter height, filter width, input channels, output channels).

    TFLM takes input channels before filter positions. Each position touches another output pixel,
    so that the order of the sums of one pixel is the same.
    """
    values, terms, sums = images.reshape(-1), weights.reshape(-1), out.reshape(-1)
    depth, channels = weights.shape[2], weights.shape[3]
    for n in range(images.shape[0]):
        for row in range(images.shape[1]):
            for column in range(images.shape[2]):
                v = ((n * images.shape[1] + row) * images.shape[2] + column) * depth
                for i in range(weights.shape[0]):
                    y = row * stride_y - pad_y + i
                    if y < 0 or y >= out.shape[1]:
                        continue
                    for j in range(weights.shape[1]):
                        x = column * stride_x - pad_x + j
                        if 0 <= x < out.shape[2]:
                            o = ((n * out.shape[1] + y) * out.shape[2] + x) * channels
                            w = (i * weights.shape[1] + j) * depth * channels
                            add_products(sums, o, values, v, terms, w, channels, depth, channels)
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                add_bias_and_clamp(out[n, y, x], bias, low, high)


def macs(node: Node) -> int:
    """Every input element meets every position and channel of the filter."""
    w = node.inputs[_FILTER]
    return node.inputs[_INPUT].elements * (w.elements // w.shape[3])


OP = OpSpec(
    "TRANSPOSE_CONV",
    prepare,
    evaluate,
    OpData(lp64=80, ilp32=72, compression=8, cmsis_nn=76),
    params="TfLiteTransposeConvParams",
    macs=macs,
)
