"""CONV_2D: output[n, y, x, o] = act(requantize(sum_ijc (in - zx) * filter[o, i, j, c] + bias[o])).

Shapes: input (N, height, width, G * C), filter (O, filter height, filter width, C), bias (O) or
absent, output (N, any height, any width, O): TFLM computes as many pixels as the output declares,
and pads as the input's size tells. G > 1 is a grouped convolution, O must be a multiple of G.
Positions outside of the image add nothing. A computed filter or bias is taken row by row.
Quantization: int8 with int8 or int4 filter and int32 bias; int16 with int8 filter and int32 or
int64 bias, where zero points are not used; float32. Filters are symmetric, with one scale or one a
channel; multipliers come from double products.
Scratch: an int4 filter is unpacked, one byte an element.
Persistent: 4 bytes an output channel, twice.
Differs: sums that overflow int32 wrap; C++ leaves them undefined, TFLM's builds wrap too. Groups
that do not divide the channels, zero points outside of their type, multipliers from 2^30 on (int64
sums: 2^14) are refused. Which NaN a float is, is not promised.
Source: `tensorflow/lite/micro/kernels/conv{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}conv.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops import _convolution_bytes
from refmicro.ops._activation import float_range
from refmicro.ops._convolution import (
    OP_DATA,
    Convolution,
    float_convolution,
    per_channel_requantizer,
    require_image,
)
from refmicro.ops._product import blocks, require_bias, require_packed_constant, require_type_option
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

_BIAS_INT32 = 2
"""`quantized_bias_type` is a TensorType; FLOAT32 (0) is its default and means: not given."""

_FILTERS = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT8, DType.INT4),
    DType.INT16: (DType.INT8,),
}
_BIASES = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT32,),
    DType.INT16: (DType.INT32, DType.INT64),
}


@dataclass(frozen=True)
class Conv2D(Convolution):
    """A convolution of `groups` groups."""

    groups: int


def prepare(ctx: PrepareContext) -> Conv2D:
    """Check types and shapes, derive padding and multipliers."""
    require_type_option(ctx, "quantized_bias_type")
    output, x, w = ctx.output(0), ctx.input(0), ctx.input(1)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_type("input", x, *_FILTERS)
    ctx.require_type(f"filter of {x.dtype} input", w, *_FILTERS[x.dtype])
    for what, tensor in (("input", x), ("filter", w), ("output", output)):
        require_image(ctx, what, tensor)
    channels = w.shape[0]
    ctx.persistent(4 * channels)
    ctx.persistent(4 * channels)
    count = len(ctx.node.inputs)
    ctx.require(count in (2, 3), "must have 2 or 3 inputs", count)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    ctx.input(0), ctx.input(1)
    bias = ctx.optional_input(2)
    ctx.output(0)
    groups = _groups(ctx, x, w, output)
    require_bias(ctx, bias, channels, *_BIASES[x.dtype])
    requantize = None
    if x.dtype is not DType.FLOAT32:
        wide = x.dtype is DType.INT16 and not _has_int32_sums(ctx, bias)
        requantize = per_channel_requantizer(ctx, x, w, output, 0, wide=wide)
    if x.dtype is DType.INT16:
        # The kernel adds no offset; the activation's limits still have it.
        requantize = requantize.without_offset()
    require_packed_constant(ctx, w)
    if w.dtype is DType.INT4:
        ctx.scratch(w.elements)
    return Conv2D(
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
        window=prepare_window(ctx, x.shape, output.shape, w.shape[1:3]),
        groups=groups,
    )


def _groups(ctx: PrepareContext, x: Tensor, w: Tensor, output: Tensor) -> int:
    """How many groups the channels divide into; TFLM divides and does not look."""
    ctx.require_shape(
        x.shape[0] == output.shape[0],
        "input and output must hold as many images",
        f"{x.shape[0]} and {output.shape[0]}",
    )
    ctx.require_shape(
        w.shape[0] == output.shape[3],
        "filter and output must have as many channels",
        f"{w.shape[0]} and {output.shape[3]}",
    )
    ctx.require_shape(
        x.shape[3] % w.shape[3] == 0,
        f"input channels must be a multiple of the filter's {w.shape[3]}",
        x.shape[3],
    )
    groups = x.shape[3] // w.shape[3]
    ctx.require_shape(
        w.shape[0] % groups == 0, f"output channels must divide into {groups} groups", w.shape[0]
    )
    return groups


def _has_int32_sums(ctx: PrepareContext, bias: Tensor | None) -> bool:
    """int16 inputs accumulate in the bias's type; without bias the options say which."""
    if bias is not None:
        return bias.dtype is DType.INT32
    return ctx.options.get("quantized_bias_type", 0) == _BIAS_INT32


def evaluate(ctx: EvalContext, data: Conv2D) -> None:
    """Patches times filter, in blocks of images where the filter is constant."""
    x = ctx.input(0)
    computed = not data.filter.is_constant or data.has_computed_bias
    if computed:
        x = np.broadcast_to(x, (ctx.batch, *x.shape[1:]))
    images = x.reshape(-1, *x.shape[2:])
    if data.requantize is None:
        out = _evaluate_float(ctx, data, images)
    elif computed:
        out = _evaluate_computed(ctx, data, images)
    else:
        out = _evaluate_constant(data, images)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def bind(ctx: BindContext, data: Conv2D) -> list[Step] | None:
    """What writes the output of a constant filter."""
    x, out = ctx.input(0), ctx.output(0)
    constant = data.filter.is_constant and not data.has_computed_bias
    if data.requantize is None or not constant or x.shape[0] != ctx.rows:
        return None
    return _constant_steps(data, x.reshape(-1, *x.shape[2:]), out.reshape(-1, data.channels))


def _evaluate_constant(data: Conv2D, images: np.ndarray) -> np.ndarray:
    shape = images.shape[0] * data.window.pixels, data.channels
    out = np.empty(shape, data.output.dtype.numpy)
    run_steps(_constant_steps(data, np.ascontiguousarray(images), out))
    return out


def _constant_steps(data: Conv2D, images: np.ndarray, out: np.ndarray) -> list[Step]:
    if data.has_bytes and data.groups == 1:
        return _convolution_bytes.steps(images, data.packed, out)
    return [(_write_blocks, (data, images, out))]


def _write_blocks(data: Conv2D, images: np.ndarray, out: np.ndarray) -> None:
    pixels = data.window.pixels
    image_bytes = pixels * (data.depth + data.channels) * data.typed_weights.itemsize
    for block in blocks(images.shape[0], image_bytes):
        sums = _sums(data, images[block], data.typed_weights, data.input_zero_point)
        part = out[block.start * pixels : block.stop * pixels]
        data.bounded(sums, data.folded_bias, out=part, total_rows=out.shape[0])


def _evaluate_computed(ctx: EvalContext, data: Conv2D, images: np.ndarray) -> np.ndarray:
    """Filter or bias are activations: each row of the batch may have its own."""
    bias = ctx.input(2) if data.has_computed_bias else None
    if data.filter.is_constant:
        sums = _sums(data, images, data.typed_weights, data.input_zero_point)
        return data.finish(sums, data.folded_bias, bias)
    weights = data.computed_weights(ctx.input(1))
    weights = np.broadcast_to(weights, (ctx.batch, *weights.shape[1:]))
    sums = _sums(data, images.astype(weights.dtype) - data.input_zero_point, weights, 0)
    return data.finish(sums, data.constant_bias, bias)


def _sums(data: Conv2D, images: np.ndarray, weights: np.ndarray, fill: int) -> np.ndarray:
    """Sums of products, (R, channels); `weights` have the type in which these are exact.

    They are (depth, channels), or (B, depth, channels) where each row of a batch has its own.
    """
    width, inner = data.channels // data.groups, data.filter.shape[3]
    parts = []
    for group in range(data.groups):
        part = images[..., group * inner : (group + 1) * inner]
        columns = patches(part, data.window, fill, weights.dtype)
        columns = columns.reshape(*weights.shape[:-2], -1, data.depth)
        sums = np.matmul(columns, weights[..., group * width : (group + 1) * width])
        parts.append(sums.reshape(-1, width))
    return parts[0] if data.groups == 1 else np.concatenate(parts, 1)


def _evaluate_float(ctx: EvalContext, data: Conv2D, images: np.ndarray) -> np.ndarray:
    w = data.weights[None] if data.filter.is_constant else data.arrange(ctx.input(1))
    bias = ctx.optional_input(2)
    if bias is None:
        bias = np.zeros((1, data.channels), np.float32)
    bias = bias.reshape(bias.shape[0], -1)[:, : data.channels]
    limits = data.float_limits
    return float_convolution(images, w, bias, data.groups, data.window, limits)


def macs(node: Node) -> int:
    """Every output element sums one filter's products."""
    return node.outputs[0].elements * (node.inputs[1].elements // node.inputs[1].shape[0])


OP = OpSpec("CONV_2D", prepare, evaluate, OP_DATA, params="TfLiteConvParams", macs=macs, bind=bind)
