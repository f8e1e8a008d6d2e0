"""FULLY_CONNECTED: output[r, o] = act(requantize(sum_d (x[r, d] - zx) * (w[o, d] - zw) + bias[o])).

Shapes: input of any shape with R * accum_depth elements, filter (output_depth, accum_depth), bias
(output_depth) or absent, output (..., output_depth) with R rows. The filter may be computed: it
then is an activation and each row of a batch has its own.
Quantization: int8 with int8 or int4 filter and int32 bias; int16 with int8 filter and int32 or
int64 bias; float32. A filter with more than one scale is per-channel, its zero points are not used.
All multipliers come from double products of scales; sources of before October 2026 take a float32
product for the per-tensor one (decision 0004).
Scratch: an int4 filter is unpacked, one byte an element.
Persistent: per-channel, 4 bytes a channel twice.
Differs: sums that overflow int32 wrap; C++ leaves them undefined, TFLM's builds wrap too. Zero
points outside of their type and multipliers from 2^30 on (int64 sums: 2^14) are refused. Which NaN
a float is, is not promised.
Source: `tensorflow/lite/micro/kernels/fully_connected{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}fully_connected.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro import _gemm, _int8_dots, _int8_gemm
from refmicro._gemm import row_times
from refmicro._jit import jit
from refmicro.ops._activation import float_range
from refmicro.ops._product import (
    Product,
    blocks,
    require_bias,
    require_packed_constant,
    require_type_option,
)
from refmicro.ops._requantize import (
    Requantizer,
    double_rule,
    prepare_requantizer,
    requantize_row,
    require_zero_point,
)
from refmicro.ops._spec import (
    BindContext,
    EvalContext,
    Node,
    OpData,
    OpSpec,
    PrepareContext,
    Step,
    run_steps,
)
from refmicro.types import DType, Tensor

_BIAS_INT32 = 2
"""`quantized_bias_type` is a TensorType; FLOAT32 (0) is its default and means: not given."""

_WEIGHTS_FORMATS = (0, 1)
"""Both are read alike."""

_FEW_ROWS = 16
_FEW_PRODUCTS = 1 << 14
"""Up to so many rows of input, or products in all, a loop over outputs beats a matrix product."""

_BIASES = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT32,),
    DType.INT16: (DType.INT32, DType.INT64),
}


@dataclass(frozen=True)
class FullyConnected(Product):
    """What eval needs: a product over `rows` rows."""

    rows: int

    @cached_property
    def rowwise_weights(self) -> np.ndarray:
        """The constant filter with its offset, int16 of shape (channels, depth)."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def row_terms(self) -> tuple:
        """What `requantize_row` takes."""
        return self.bounded.row_terms(self.folded_bias)

    @cached_property
    def packed(self) -> _int8_gemm.PackedWeights:
        """The filter for `_int8_gemm.product`; needs `has_bytes`."""
        return _int8_gemm.pack(self.weights, self.folded_bias, self.requantize.rescale)

    @cached_property
    def has_dots(self) -> bool:
        """Whether many rows meet one computed row of bytes, and `_int8_dots` takes them."""
        types = {self.input.dtype, self.filter.dtype, self.output.dtype}
        if types != {DType.INT8} or self.filter.is_constant or self.has_computed_bias:
            return False
        shape_fits = self.channels == 1 and _int8_dots.is_supported(self.rows, self.depth)
        return shape_fits and self.requantize.rescale.is_supported

    def dots(self, x: np.ndarray, w: np.ndarray, out: np.ndarray) -> Step:
        """The call that writes `out`, of shape (B, rows), from as many inputs and filters."""
        offsets = -self.input_zero_point, self.filter_offset
        bias, rescale = int(self.constant_bias[0]), self.requantize.rescale
        return _int8_dots.step(x, w, offsets, bias, rescale, out)


def prepare(ctx: PrepareContext) -> FullyConnected:
    """Check types and shapes, derive multipliers."""
    require_type_option(ctx, "quantized_bias_type")
    ctx.require(
        ctx.options.get("weights_format", 0) in _WEIGHTS_FORMATS,
        "the weights format must be DEFAULT or SHUFFLED4x16INT8",
        ctx.options.get("weights_format", 0),
    )
    x, w = ctx.input(0), ctx.input(1)
    bias = ctx.optional_input(2)
    output = ctx.output(0)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_type("input", x, DType.INT8, DType.INT16, DType.FLOAT32)
    filters = {
        DType.FLOAT32: (DType.FLOAT32,),
        DType.INT8: (DType.INT8, DType.INT4),
        DType.INT16: (DType.INT8,),
    }
    ctx.require_type(f"filter of {x.dtype} input", w, *filters[x.dtype])
    _check_shapes(ctx, x, w, bias, output)
    require_packed_constant(ctx, w)
    if w.dtype is DType.INT4:
        ctx.scratch(w.elements)
    return FullyConnected(
        input=x,
        filter=w,
        bias=bias,
        output=output,
        depth=w.shape[-1],
        channels=output.shape[-1],
        input_zero_point=x.zero_point,
        filter_offset=0 if len(w.quantization.scale) > 1 else -w.zero_point,
        requantize=None if x.dtype is DType.FLOAT32 else _requantizer(ctx, x, w, bias, output),
        float_limits=float_range(ctx.options.get("fused_activation_function", 0)),
        rows=output.elements // output.shape[-1],
    )


def _check_shapes(
    ctx: PrepareContext, x: Tensor, w: Tensor, bias: Tensor | None, output: Tensor
) -> None:
    ctx.require_shape(len(w.shape) >= 2, "filter must have at least 2 dimensions", w.shape)
    ctx.require_shape(
        output.shape != () and output.elements > 0,
        "output must have at least 1 dimension and 1 element",
        output.shape,
    )
    depth = w.shape[-1]
    ctx.require_shape(
        output.shape[-1] <= math.prod(w.shape[:-1]),
        "filter must have a row for each output channel",
        f"{w.shape[-2]} rows",
    )
    rows = output.elements // output.shape[-1]
    ctx.require_shape(
        x.elements >= rows * depth,
        f"input must hold {rows} rows of {depth} values",
        f"{x.elements} values",
    )
    require_bias(ctx, bias, output.shape[-1], *_BIASES[x.dtype])


def _requantizer(
    ctx: PrepareContext, x: Tensor, w: Tensor, bias: Tensor | None, output: Tensor
) -> Requantizer:
    scales = w.quantization.scale if w.quantization.is_affine else ()
    per_channel = len(scales) > 1
    ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
    if per_channel:
        ctx.require(
            w.dtype is not DType.INT4, "an int4 filter must have one scale", f"{len(scales)} scales"
        )
        axis = w.quantization.quantized_dimension
        size = w.shape[axis] if 0 <= axis < len(w.shape) else 0
        ctx.require(
            len(scales) == size,
            "a per-channel filter must have a scale for each channel",
            f"{len(scales)} scales for {size} channels",
        )
        ctx.require_shape(
            len(scales) >= output.shape[-1],
            "a per-channel filter must have a scale for each output",
            f"{len(scales)} scales",
        )
        ctx.persistent(4 * len(scales))
        ctx.persistent(4 * len(scales))
        reals = [x.scale * scale / output.scale for scale in scales]
    else:
        reals = [_per_tensor_multiplier(ctx, x, w, bias, output)]
    require_zero_point(ctx, "input", x)
    require_zero_point(ctx, "filter", w)
    wide = x.dtype is DType.INT16 and not _int32_accumulator(ctx, bias)
    return prepare_requantizer(ctx, reals, output, wide=wide).broadcast(output.shape[-1])


def _int32_accumulator(ctx: PrepareContext, bias: Tensor | None) -> bool:
    """int16 inputs accumulate in the bias's type; without bias the options say which."""
    if bias is not None:
        return bias.dtype is DType.INT32
    return ctx.options.get("quantized_bias_type", 0) == _BIAS_INT32


def _per_tensor_multiplier(
    ctx: PrepareContext, x: Tensor, w: Tensor, bias: Tensor | None, output: Tensor
) -> float:
    """`GetQuantizedConvolutionMultipler`, with the bias's scale checked where there is one."""
    if bias is not None:
        difference = abs(x.scale * w.scale - bias.scale)
        ctx.require(
            difference / output.scale <= 0.02,
            "bias scale must be close to input scale * filter scale",
            f"{bias.scale} against {x.scale * w.scale}",
        )
    return x.scale * w.scale / output.scale


def evaluate(ctx: EvalContext, data: FullyConnected) -> None:
    """One product for all rows of the batch, or one a row where the filter is computed."""
    x = ctx.input(0)
    rows = x.reshape(x.shape[0], -1)[:, : data.rows * data.depth]
    computed_bias = ctx.input(2) if data.has_computed_bias else None
    if data.requantize is None:
        out = _evaluate_float(ctx, data, rows.reshape(-1, data.rows, data.depth))
    elif data.filter.is_constant:
        out = _evaluate_constant(data, rows.reshape(-1, data.depth), computed_bias)
    elif data.has_dots:
        out = _evaluate_dots(data, rows, ctx.input(1))
    elif data.input.dtype is DType.INT8 and data.bound < 1 << 31:
        w = ctx.input(1).reshape(-1, data.filter.elements // data.depth, data.depth)
        left = rows.reshape(-1, data.rows, data.depth)
        offsets = -data.input_zero_point, data.filter_offset
        sums = _gemm.int8_products(left, w[:, : data.channels], *offsets)
        out = data.finish(sums.reshape(-1, data.channels), data.constant_bias, computed_bias)
    else:
        weights = data.computed_weights(ctx.input(1))
        left = rows.reshape(-1, data.rows, data.depth).astype(weights.dtype)
        left -= data.input_zero_point
        sums = _gemm.matmul(left, weights, data.bound)
        out = data.finish(sums.reshape(-1, data.channels), data.constant_bias, computed_bias)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def _evaluate_dots(data: FullyConnected, rows: np.ndarray, w: np.ndarray) -> np.ndarray:
    batch = max(rows.shape[0], w.shape[0])
    x = np.broadcast_to(rows, (batch, rows.shape[1])).reshape(batch, data.rows, data.depth)
    w = np.broadcast_to(w, (batch, *w.shape[1:])).reshape(batch, -1)[:, : data.depth]
    out = np.empty((batch, data.rows), np.int8)
    run_steps([data.dots(np.ascontiguousarray(x), np.ascontiguousarray(w), out)])
    return out


def _evaluate_constant(
    data: FullyConnected, rows: np.ndarray, computed_bias: np.ndarray | None
) -> np.ndarray:
    out = np.empty((rows.shape[0], data.channels), data.output.dtype.numpy)
    if data.has_bytes:
        _int8_gemm.product(_int8_gemm.fit(rows, data.packed), data.packed, out)
        return out
    weights = data.typed_weights
    if computed_bias is not None:
        sums = _gemm.matmul(rows, weights, data.raw_bound)
        return data.finish(sums, data.folded_bias, computed_bias)
    for block in blocks(out.shape[0], sum(weights.shape) * weights.itemsize):
        sums = _gemm.matmul(rows[block], weights, data.raw_bound)
        data.bounded(sums, data.folded_bias, out=out[block], total_rows=out.shape[0])
    return out


def bind(ctx: BindContext, data: FullyConnected) -> list[Step] | None:
    """One call that goes through the filter once a row, where rows are few."""
    x, w, out = ctx.input(0), ctx.input(1), ctx.output(0)
    count = ctx.rows * data.rows
    if count > _FEW_ROWS and count * data.channels * data.depth > _FEW_PRODUCTS:
        return _bind_many(ctx, data)
    if x.dtype == np.int16:
        return _bind_int16(ctx, data)
    if x.dtype != np.int8 or x.shape[0] != ctx.rows:
        return None
    if data.has_computed_bias or max(data.bound, data.raw_bound) >= 1 << 31:
        return None
    if data.filter.is_constant:
        weights, offsets, bias = data.rowwise_weights, (0, 0), data.folded_bias
    elif w.shape[0] == 1:
        weights = w.reshape(-1, data.depth)
        offsets, bias = (-data.input_zero_point, data.filter_offset), data.constant_bias
    else:
        return None
    terms = data.bounded.exact_terms(bias)
    if terms is None:
        return None
    sizes = (x.size // ctx.rows, data.rows, data.depth)
    arguments = (x.reshape(-1), *sizes, weights.reshape(-1), *offsets, *terms)
    return [(_rows_times.ready, (*arguments, out.reshape(count, -1)))]


def _bind_int16(ctx: BindContext, data: FullyConnected) -> list[Step] | None:
    x, out = ctx.input(0), ctx.output(0).reshape(-1, data.channels)
    if not data.filter.is_constant or data.has_computed_bias:
        return None
    if x.size != out.shape[0] * data.depth:
        return None
    arguments = (x.reshape(-1, data.depth), data.typed_weights, data.row_terms, out)
    return [(_constant_rows_times.ready, arguments)]


def _bind_many(ctx: BindContext, data: FullyConnected) -> list[Step] | None:
    """Products of bytes, where there are any."""
    x, out = ctx.input(0), ctx.output(0).reshape(-1, data.channels)
    if x.shape[0] != ctx.rows or x.size != out.shape[0] * data.depth:
        return None
    if data.has_dots:
        w = ctx.input(1).reshape(-1, data.filter.elements)
        shape = ctx.rows, data.rows, data.depth
        if w.shape != (ctx.rows, data.depth):
            return None
        return [data.dots(x.reshape(shape), w, out.reshape(shape[:2]))]
    if not data.has_bytes:
        return None
    rows = x.reshape(-1, data.depth)
    if data.depth == data.packed.depth:
        return [_int8_gemm.product_step(rows, data.packed, out)]
    longer = np.zeros((out.shape[0], data.packed.depth), np.int8)
    step = _int8_gemm.product_step(longer, data.packed, out)
    return [(np.copyto, (longer[:, : data.depth], rows)), step]


@jit
def _constant_rows_times(x, weights, terms, out):
    sums = np.empty(out.shape[1], weights.dtype)
    for row in range(out.shape[0]):
        row_times(x[row], weights, sums)
        requantize_row(sums, terms, out[row])


@jit
def _rows_times(
    x,
    stride,
    rows,
    depth,
    weights,
    x_offset,
    w_offset,
    bias,
    factors,
    halves,
    center,
    low,
    high,
    base,
    out,
):
    """Rows times each row of the filter, requantized.

    Offsets are added by sums of the other factor, so that the inner loop takes values as they are;
    every step is cut to int32, so that the compiled sum has 32 bits as well.
    """
    unsigned = np.uint64
    for row in range(out.shape[0]):
        first = row // rows * stride + row % rows * depth
        for channel in range(out.shape[1]):
            y, total = channel * depth, np.int32(0)
            for k in range(depth):
                left = np.int32(x[unsigned(first + k)])
                total = np.int32(total + np.int32(left * np.int32(weights[unsigned(y + k)])))
            accumulator = np.int64(total)
            if x_offset != 0 or w_offset != 0:
                accumulator += depth * x_offset * w_offset
                for k in range(depth):
                    accumulator += x_offset * np.int64(weights[unsigned(y + k)])
                    accumulator += w_offset * np.int64(x[unsigned(first + k)])
            value = np.float64(accumulator) + bias[channel]
            out[row, channel] = double_rule(
                value, factors[channel], halves[channel], center, low, high, base
            )


def _evaluate_float(ctx: EvalContext, data: FullyConnected, rows: np.ndarray) -> np.ndarray:
    w = data.weights[None] if data.filter.is_constant else data.arrange(ctx.input(1))
    bias = ctx.optional_input(2)
    if bias is None:
        bias = np.zeros((1, data.channels), np.float32)
    bias = bias.reshape(bias.shape[0], -1)[:, : data.channels]
    return _gemm.float_matmul(rows, w, bias, data.float_limits)


def macs(node: Node) -> int:
    """Every output element sums accum_depth products, on all rows."""
    return node.outputs[0].elements * node.inputs[1].shape[-1]


OP = OpSpec(
    "FULLY_CONNECTED",
    prepare,
    evaluate,
    OpData(lp64=64, ilp32=48, compression=8, cmsis_nn=72),
    params="TfLiteFullyConnectedParams",
    macs=macs,
    bind=bind,
)
