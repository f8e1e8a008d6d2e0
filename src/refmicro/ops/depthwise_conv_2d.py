"""DEPTHWISE_CONV_2D: each input channel has `depth_multiplier` filters of its own.

output[n, y, x, o] = act(requantize(sum_ij (in[.., o // M] - zx) * filter[i, j, o] + bias[o]))

Shapes: input (N, height, width, C), filter (1, filter height, filter width, C * M), bias (C * M) or
left out, output (N, any height, any width, C * M): TFLM computes as many pixels as the output
declares, and pads as the input's size tells. Positions outside of the image add nothing. A computed
filter or bias is taken row by row.
Quantization: int8 with int8 or int4 filter and int32 bias; int16 with int8 filter and int64 bias,
where zero points are not used; float32. Filters are symmetric, with one scale or one a channel;
multipliers come from double products.
Scratch: an int4 filter is unpacked, one byte an element.
Persistent: 4 bytes an output channel, twice.
Differs: int8 sums that overflow int32 wrap; C++ leaves them undefined, TFLM's builds wrap too. Zero
points outside of their type, multipliers from 2^30 on (int64 sums: 2^14) are refused. Which NaN a
float is, is not promised.
Source: `tensorflow/lite/micro/kernels/depthwise_conv{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{depthwiseconv_float,integer_ops/depthwise_conv}.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _convolution_bytes, _depthwise_bytes
from refmicro.ops._activation import float_range
from refmicro.ops._convolution import (
    OP_DATA,
    Convolution,
    float_convolution,
    per_channel_requantizer,
    require_image,
)
from refmicro.ops._product import blocks, require_bias, require_packed_constant
from refmicro.ops._spec import (
    BindContext,
    EvalContext,
    Node,
    OpSpec,
    PrepareContext,
    Step,
    run_steps,
)
from refmicro.ops._window import patches, prepare_window
from refmicro.types import DType, Tensor

_FILTERS = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT8, DType.INT4),
    DType.INT16: (DType.INT8,),
}
_BIASES = {DType.FLOAT32: DType.FLOAT32, DType.INT8: DType.INT32, DType.INT16: DType.INT64}


@dataclass(frozen=True)
class DepthwiseConv2D(Convolution):
    """A convolution of each channel; `depth` is the number of filter positions."""

    multiplier: int

    def arrange(self, values: np.ndarray) -> np.ndarray:
        """Filter values of shape (B, *filter shape) as (B, positions, channels)."""
        return values[:, 0].reshape(values.shape[0], self.depth, self.channels)

    @cached_property
    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(row, phase, start) of each filter position in images as `_spread` lays them out."""
        height, width = self.window.height, self.window.width
        row, column = np.divmod(np.arange(self.depth), width.filter)
        index, phase = np.divmod(column * width.dilation, width.stride)
        return row * height.dilation, phase, index * self.channels

    @cached_property
    def packed_rows(self) -> _depthwise_bytes.DepthwiseBytes:
        """The filter for `_depthwise_bytes.steps`; needs `has_bytes` and multiplier 1."""
        rescale, fill = self.requantize.rescale, self.input_zero_point
        return _depthwise_bytes.pack(self.weights, self.folded_bias, rescale, self.window, fill)

    @cached_property
    def row_weights(self) -> np.ndarray:
        """The constant filter, repeated for each pixel of an output row: (positions, length)."""
        dtype = np.int32 if self.raw_bound < 1 << 31 else np.int64
        return np.tile(self.weights.astype(dtype), (1, self.window.width.out))


def prepare(ctx: PrepareContext) -> DepthwiseConv2D:
    """Check types and shapes, derive padding and multipliers."""
    output, x, w = ctx.output(0), ctx.input(0), ctx.input(1)
    for what, tensor in (("input", x), ("filter", w), ("output", output)):
        require_image(ctx, what, tensor)
    channels = w.shape[3]
    ctx.persistent(4 * channels)
    ctx.persistent(4 * channels)
    ctx.require_type("input", x, *_FILTERS)
    ctx.require_type(f"filter of {x.dtype} input", w, *_FILTERS[x.dtype])
    require_packed_constant(ctx, w)
    if w.dtype is DType.INT4:
        ctx.scratch(w.elements)
    count = len(ctx.node.inputs)
    ctx.require(count in (2, 3), "must have 2 or 3 inputs", count)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    ctx.input(0), ctx.input(1)
    bias = ctx.optional_input(2)
    ctx.output(0)
    ctx.require_shape(
        count == 2 or bias is not None,
        "a bias must be left out of the inputs, not be absent: TFLM would crash",
        "input 2 is -1",
    )
    multiplier = _multiplier(ctx, x, w, output)
    require_bias(ctx, bias, channels, _BIASES[x.dtype])
    requantize = None
    if x.dtype is not DType.FLOAT32:
        wide = x.dtype is DType.INT16
        requantize = per_channel_requantizer(ctx, x, w, output, 3, wide=wide)
        # The int16 kernel adds no offset; the activation's limits still have it.
        requantize = requantize.without_offset() if wide else requantize
    return DepthwiseConv2D(
        input=x,
        filter=w,
        bias=bias,
        output=output,
        depth=w.shape[1] * w.shape[2],
        channels=channels,
        input_zero_point=x.zero_point if x.dtype is DType.INT8 else 0,
        filter_offset=0,
        requantize=requantize,
        float_limits=float_range(ctx.options.get("fused_activation_function", 0)),
        window=prepare_window(ctx, x.shape, output.shape, w.shape[1:3]),
        multiplier=multiplier,
    )


def _multiplier(ctx: PrepareContext, x: Tensor, w: Tensor, output: Tensor) -> int:
    """The depth multiplier; TFLM takes it from the options and looks at no shape."""
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_shape(
        x.shape[0] == output.shape[0],
        "input and output must hold as many images",
        f"{x.shape[0]} and {output.shape[0]}",
    )
    ctx.require_shape(
        w.shape[3] == output.shape[3],
        "filter and output must have as many channels",
        f"{w.shape[3]} and {output.shape[3]}",
    )
    multiplier = ctx.options.get("depth_multiplier", 0)
    ctx.require_shape(
        x.shape[3] * multiplier == output.shape[3],
        f"depth multiplier times {x.shape[3]} input channels must be the output's channels",
        f"{multiplier} and {output.shape[3]} channels",
    )
    return multiplier


def evaluate(ctx: EvalContext, data: DepthwiseConv2D) -> None:
    """Rows of whole images where the filter is constant, patches where it is computed."""
    x = ctx.input(0)
    if not data.filter.is_constant or data.has_computed_bias:
        x = np.broadcast_to(x, (ctx.batch, *x.shape[1:]))
    images = x.reshape(-1, *x.shape[2:])
    bias = ctx.input(2) if data.has_computed_bias else None
    if data.requantize is None:
        out = _evaluate_float(ctx, data, images)
    elif data.filter.is_constant:
        out = _evaluate_constant(data, images, bias)
    else:
        sums = _computed_sums(data, images, ctx.input(1))
        out = data.finish(sums, data.constant_bias, bias)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def bind(ctx: BindContext, data: DepthwiseConv2D) -> list[Step] | None:
    """What writes the output of a constant filter."""
    x, out = ctx.input(0), ctx.output(0)
    constant = data.filter.is_constant and not data.has_computed_bias
    if data.requantize is None or not constant or x.shape[0] != ctx.rows:
        return None
    return _constant_steps(data, x.reshape(-1, *x.shape[2:]), out.reshape(-1, data.channels))


def _evaluate_constant(
    data: DepthwiseConv2D, images: np.ndarray, computed_bias: np.ndarray | None
) -> np.ndarray:
    if computed_bias is not None:
        return data.finish(_sums(data, images), data.folded_bias, computed_bias)
    shape = images.shape[0] * data.window.pixels, data.channels
    out = np.empty(shape, data.output.dtype.numpy)
    run_steps(_constant_steps(data, np.ascontiguousarray(images), out))
    return out


def _constant_steps(data: DepthwiseConv2D, images: np.ndarray, out: np.ndarray) -> list[Step]:
    if data.has_bytes and data.input.shape[3] == 1:
        return _convolution_bytes.steps(images, data.packed, out)
    if data.has_bytes and data.multiplier == 1:
        return _depthwise_bytes.steps(images, data.packed_rows, out)
    return [(_write_blocks, (data, images, out))]


def _write_blocks(data: DepthwiseConv2D, images: np.ndarray, out: np.ndarray) -> None:
    pixels = data.window.pixels
    values = pixels + data.window.height.reach * data.window.width.reach
    for block in blocks(images.shape[0], 4 * values * data.channels):
        part = out[block.start * pixels : block.stop * pixels]
        sums = _sums(data, images[block])
        data.bounded(sums, data.folded_bias, out=part, total_rows=out.shape[0])


def _sums(data: DepthwiseConv2D, images: np.ndarray) -> np.ndarray:
    """Sums of products of inputs as they are, (R, channels)."""
    if data.input.shape[3] == 1:
        # All filters see one channel: an ordinary convolution.
        weights = data.typed_weights
        return patches(images, data.window, data.input_zero_point, weights.dtype) @ weights
    height, width = data.window.height, data.window.width
    per_phase = (width.span - 1) // width.stride + width.out
    shape = images.shape[0], height.reach, width.stride, per_phase * data.channels
    spread = np.empty(shape, images.dtype)
    _spread(
        np.ascontiguousarray(images),
        data.input_zero_point,
        height.pad,
        width.pad,
        data.multiplier,
        spread,
    )
    weights = data.row_weights
    sums = np.empty((images.shape[0], height.out, weights.shape[1]), weights.dtype)
    _accumulate(spread, *data.taps, weights, height.stride, sums)
    return sums.reshape(-1, data.channels)


@jit
def _spread(images, fill, pad_y, pad_x, multiplier, out):
    """Pads images, repeats channels, and sorts columns by their remainder modulo the stride: every
    filter position then sees one stretch of values for a whole output row."""
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    phases, pixel = out.shape[2], channels * multiplier
    columns = out.shape[3] // pixel
    source = images.reshape(-1)
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            row = y - pad_y
            for phase in range(phases):
                # Columns first..last - 1 of this line are those of the image.
                first = min(columns, max(0, -((phase - pad_x) // phases)))
                last = max(first, min(columns, (width - 1 - phase + pad_x) // phases + 1))
                if row < 0 or row >= height:
                    first = last = columns
                line = out[n, y, phase]
                for k in range(first * pixel):
                    line[k] = fill
                for k in range(last * pixel, line.size):
                    line[k] = fill
                if first < last:
                    column = first * phases + phase - pad_x
                    start = ((n * height + row) * width + column) * channels
                    part = line[first * pixel : last * pixel]
                    _repeat(source, start, phases * channels, channels, multiplier, part)


@jit
def _repeat(source, start, step, channels, multiplier, line):
    """`line` takes pixels of `channels` values, `step` apart, each value `multiplier` times."""
    unsigned = np.uint64
    if multiplier == 1 and step == channels:
        for k in range(line.size):
            line[k] = source[unsigned(start + k)]
        return
    for position in range(0, line.size, channels * multiplier):
        if multiplier == 1:
            for k in range(channels):
                line[unsigned(position + k)] = source[unsigned(start + k)]
        else:
            for k in range(channels):
                value = source[unsigned(start + k)]
                for m in range(multiplier):
                    line[unsigned(position + k * multiplier + m)] = value
        start += step


@jit
def _accumulate(spread, rows, phases, starts, weights, stride, sums):
    """Three filter positions at a time, so that sums are loaded and stored less often."""
    length, taps = sums.shape[2], rows.size
    for n in range(sums.shape[0]):
        for y in range(sums.shape[1]):
            line = sums[n, y]
            for k in range(length):
                line[k] = 0
            for t in range(0, taps - 2, 3):
                top = y * stride
                a = spread[n, top + rows[t], phases[t], starts[t] :]
                b = spread[n, top + rows[t + 1], phases[t + 1], starts[t + 1] :]
                c = spread[n, top + rows[t + 2], phases[t + 2], starts[t + 2] :]
                wa, wb, wc = weights[t], weights[t + 1], weights[t + 2]
                for k in range(length):
                    line[k] += a[k] * wa[k] + b[k] * wb[k] + c[k] * wc[k]
            for t in range(taps - taps % 3, taps):
                a, wa = spread[n, y * stride + rows[t], phases[t], starts[t] :], weights[t]
                for k in range(length):
                    line[k] += a[k] * wa[k]


def _computed_sums(data: DepthwiseConv2D, images: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Sums where the filter is an activation: each row of the batch has its own."""
    offset = images.astype(np.int64) - data.input_zero_point
    columns = patches(offset, data.window, 0, np.dtype(np.int64))
    columns = columns.reshape(filters.shape[0], -1, data.depth, data.input.shape[3])
    weights = data.arrange(filters).astype(np.int64)
    weights = weights.reshape(filters.shape[0], data.depth, -1, data.multiplier)
    return np.einsum("brtc,btcm->brcm", columns, weights).reshape(-1, data.channels)


def _evaluate_float(ctx: EvalContext, data: DepthwiseConv2D, images: np.ndarray) -> np.ndarray:
    w = data.weights[None] if data.filter.is_constant else data.arrange(ctx.input(1))
    bias = ctx.optional_input(2)
    if bias is None:
        bias = np.zeros((1, data.channels), np.float32)
    bias = bias.reshape(bias.shape[0], -1)[:, : data.channels]
    groups = data.input.shape[3]
    return float_convolution(images, w, bias, groups, data.window, data.float_limits)


def macs(node: Node) -> int:
    """Every output element sums one product for each filter position."""
    w = node.inputs[1]
    return node.outputs[0].elements * w.shape[1] * w.shape[2]


OP = OpSpec(
    "DEPTHWISE_CONV_2D",
    prepare,
    evaluate,
    OP_DATA,
    params="TfLiteDepthwiseConvParams",
    macs=macs,
    bind=bind,
)
