"""FULLY_CONNECTED: output[r, o] = act(requantize(sum_d (x[r, d] - zx) * (w[o, d] - zw) + bias[o])).

Shapes: input of any shape with R * accum_depth elements, filter (output_depth, accum_depth), bias
(output_depth) or absent, output (..., output_depth) with R rows. The filter may be computed: it
then is an activation and each row of a batch has its own.
Quantization: int8 with int8 or int4 filter and int32 bias; int16 with int8 filter and int32 or
int64 bias; float32. A filter with more than one scale is per-channel, its zero points are not used.
The per-tensor multiplier comes from a float32 product of scales, per-channel ones from doubles.
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

from refmicro import _gemm
from refmicro.fixedpoint import f32
from refmicro.ops._activation import float_range
from refmicro.ops._requantize import (
    Requantizer,
    largest_magnitude,
    prepare_requantizer,
    require_zero_point,
)
from refmicro.ops._spec import EvalContext, Node, OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_BIAS_INT32 = 2
"""`quantized_bias_type` is a TensorType; FLOAT32 (0) is its default and means: not given."""


@dataclass(frozen=True)
class FullyConnected:
    """What eval needs. `requantize` is None for float32."""

    rows: int
    accum_depth: int
    output_depth: int
    input: Tensor
    filter: Tensor
    filter_offset: int
    bias: Tensor | None
    output: Tensor
    requantize: Requantizer | None
    float_limits: tuple[np.float32, np.float32]

    @cached_property
    def weights(self) -> np.ndarray:
        """The constant filter with its offset: (accum_depth, output_depth), int16 or float32."""
        values = self.filter.array().reshape(-1, self.accum_depth)[: self.output_depth]
        if self.requantize is not None:
            values = values.astype(np.int16) + self.filter_offset
        return np.ascontiguousarray(values.T)

    @cached_property
    def magnitude(self) -> int:
        """Bound of the sum of filter magnitudes over one output."""
        if not self.filter.is_constant:
            return self.accum_depth * largest_magnitude(self.filter)
        return int(np.abs(self.weights.astype(np.int64)).sum(0).max(initial=0))

    @cached_property
    def raw_bound(self) -> int:
        """Bound of a sum of products of inputs without offset."""
        return self.magnitude * largest_magnitude(self.input, offset=False)

    @cached_property
    def typed_weights(self) -> np.ndarray:
        """Constant weights in the type of the exact product."""
        return self.weights.astype(_gemm.accumulator_dtype(self.raw_bound))

    @cached_property
    def constant_bias(self) -> np.ndarray:
        """Constant bias as int64, zeros where there is none."""
        if self.bias is None or not self.bias.is_constant:
            return np.zeros(self.output_depth, np.int64)
        return self.bias.array().reshape(-1)[: self.output_depth].astype(np.int64)

    @cached_property
    def folded_bias(self) -> np.ndarray:
        """The constant bias and the input offset times the constant filter: with it, inputs are
        multiplied as they are."""
        return self.constant_bias - self.input.zero_point * self.weights.astype(np.int64).sum(0)

    @cached_property
    def bounded(self) -> Requantizer:
        """The requantizer, knowing how large sums get."""
        bias = int(np.abs(self.constant_bias).max(initial=0))
        if self.bias is not None and not self.bias.is_constant:
            bias = 1 << 63 if self.bias.dtype is DType.INT64 else 1 << 31
        return self.requantize.within(self.magnitude * largest_magnitude(self.input) + bias)


def prepare(ctx: PrepareContext) -> FullyConnected:
    """Check types and shapes, derive multipliers."""
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
    if w.dtype is DType.INT4:
        ctx.scratch(w.elements)
    return FullyConnected(
        rows=output.elements // output.shape[-1],
        accum_depth=w.shape[-1],
        output_depth=output.shape[-1],
        input=x,
        filter=w,
        filter_offset=0 if len(w.quantization.scale) > 1 else -w.zero_point,
        bias=bias,
        output=output,
        requantize=None if x.dtype is DType.FLOAT32 else _requantizer(ctx, x, w, bias, output),
        float_limits=float_range(ctx.options.get("fused_activation_function", 0)),
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
    if bias is not None:
        ctx.require_shape(
            bias.elements >= output.shape[-1],
            "bias must have a value for each output channel",
            f"{bias.elements} values",
        )
        allowed = {
            DType.FLOAT32: (DType.FLOAT32,),
            DType.INT8: (DType.INT32,),
            DType.INT16: (DType.INT32, DType.INT64),
        }[x.dtype]
        ctx.require_type(f"bias of {x.dtype} input", bias, *allowed)


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
    """`GetQuantizedConvolutionMultipler`: a double product where there is a bias to check against,
    and then a float32 product of the scales, which is the one that counts."""
    if bias is not None:
        difference = abs(x.scale * w.scale - bias.scale)
        ctx.require(
            difference / output.scale <= 0.02,
            "bias scale must be close to input scale * filter scale",
            f"{bias.scale} against {x.scale * w.scale}",
        )
    return f32(x.scale * w.scale) / output.scale


def evaluate(ctx: EvalContext, data: FullyConnected) -> None:
    """One product for all rows of the batch, or one a row where the filter is computed."""
    x = ctx.input(0)
    rows = x.reshape(x.shape[0], -1)[:, : data.rows * data.accum_depth]
    if data.requantize is None:
        out = _evaluate_float(ctx, data, rows.reshape(-1, data.rows, data.accum_depth))
    elif data.filter.is_constant:
        flat = rows.reshape(-1, data.accum_depth)
        sums = _gemm.matmul(flat, data.typed_weights, data.raw_bound)
        out = _finish(ctx, data, sums, data.folded_bias)
    else:
        out = _finish(ctx, data, _computed_product(ctx, data, rows), data.constant_bias)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def _computed_product(ctx: EvalContext, data: FullyConnected, rows: np.ndarray) -> np.ndarray:
    """Sums where the filter is an activation: each row of the batch has its own."""
    bound = data.magnitude * largest_magnitude(data.input)
    dtype = _gemm.accumulator_dtype(bound)
    left = rows.reshape(-1, data.rows, data.accum_depth).astype(dtype)
    left -= data.input.zero_point
    w = ctx.input(1)
    w = w.reshape(w.shape[0], -1, data.accum_depth)[:, : data.output_depth].astype(dtype)
    w += data.filter_offset
    return _gemm.matmul(left, np.swapaxes(w, 1, 2), bound).reshape(-1, data.output_depth)


def _finish(
    ctx: EvalContext, data: FullyConnected, sums: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Outputs of shape (batch * rows, output_depth)."""
    if data.bias is None or data.bias.is_constant:
        return data.bounded(sums, bias)
    computed = ctx.input(2).reshape(-1, 1, data.bias.elements)[:, :, : data.output_depth]
    totals = sums.astype(np.int64).reshape(-1, data.rows, data.output_depth) + computed
    return data.bounded(totals.reshape(-1, data.output_depth), bias)


def _evaluate_float(ctx: EvalContext, data: FullyConnected, rows: np.ndarray) -> np.ndarray:
    if data.filter.is_constant:
        w = data.weights[None]
    else:
        w = ctx.input(1)
        w = w.reshape(w.shape[0], -1, data.accum_depth)[:, : data.output_depth].swapaxes(1, 2)
    bias = ctx.optional_input(2)
    if bias is None:
        bias = np.zeros((1, data.output_depth), np.float32)
    bias = bias.reshape(bias.shape[0], -1)[:, : data.output_depth]
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
)
