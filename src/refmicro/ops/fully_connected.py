"""FULLY_CONNECTED: output[r, o] = act(requantize(sum_d (x[r, d] - zx) * (w[o, d] - zw) + bias[o])).

Shapes: input of any shape with R * accum_depth elements, filter (output_depth, accum_depth), bias
(output_depth) or absent, output (..., output_depth) with R rows. The filter may be computed: it
then is an activation and each row of a batch has its own.
Quantization: int8 with int8 or int4 filter and int32 bias; int16 with int8 filter and int32 or
int64 bias; float32. A filter with more than one scale is per-channel, its zero points are not used.
The per-tensor multiplier comes from a float32 product of scales, per-channel ones from doubles.
Scratch: an int4 filter is unpacked, one byte an element.
Persistent: per-channel, 4 bytes a channel twice.
Differs: sums that overflow int32 are refused; TFLM leaves them undefined.
Source: `tensorflow/lite/micro/kernels/fully_connected{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}fully_connected.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro import _gemm
from refmicro._jit import jit
from refmicro.fixedpoint import f32, quantize_multiplier
from refmicro.ops._activation import float_range, quantized_range
from refmicro.ops._requantize import Requantizer
from refmicro.ops._spec import EvalContext, Node, OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_BIAS_INT32 = 2
"""`quantized_bias_type` is a TensorType; FLOAT32 (0) is its default and means: not given."""


@dataclass(frozen=True)
class FullyConnected:
    """What eval needs. `filter` is the constant filter as int8, None where it is computed."""

    rows: int
    accum_depth: int
    output_depth: int
    output: Tensor
    input_offset: int
    filter_offset: int
    filter: Tensor | None
    bias: Tensor | None
    requantize: Requantizer | None
    float_limits: tuple[np.float32, np.float32] | None
    input_limit: int

    @cached_property
    def weights(self) -> np.ndarray:
        """Constant filter with its offset, int16 of shape (accum_depth, output_depth)."""
        values = self.filter.array().reshape(-1, self.accum_depth)[: self.output_depth]
        return np.ascontiguousarray((values.astype(np.int16) + self.filter_offset).T)

    @cached_property
    def bound(self) -> int:
        """Bound of the sum of magnitudes over one output, bias not included."""
        if self.filter is None:
            return self.accum_depth * self.input_limit * 255
        return self.input_limit * int(np.abs(self.weights.astype(np.int64)).sum(0).max(initial=0))

    @cached_property
    def typed_weights(self) -> np.ndarray:
        """Constant weights in the type of the exact product."""
        return self.weights.astype(_gemm.accumulator_dtype(self.bound))

    @cached_property
    def bias_values(self) -> np.ndarray | None:
        """Constant bias as int64, None where it is absent."""
        return None if self.bias is None else self.bias.array().astype(np.int64)


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
    activation = ctx.options.get("fused_activation_function", 0)
    requantize = None if x.dtype is DType.FLOAT32 else _requantizer(ctx, x, w, bias, output)
    data = FullyConnected(
        rows=output.elements // output.shape[-1],
        accum_depth=w.shape[-1],
        output_depth=output.shape[-1],
        output=output,
        input_offset=-x.zero_point,
        filter_offset=0 if len(w.quantization.scale) > 1 else -w.zero_point,
        filter=w if w.is_constant else None,
        bias=bias,
        requantize=requantize,
        float_limits=float_range(activation) if x.dtype is DType.FLOAT32 else None,
        input_limit=max(abs(-128 - x.zero_point), abs(127 - x.zero_point))
        if x.dtype is DType.INT8
        else 32768 + abs(x.zero_point),
    )
    return data


def _check_shapes(
    ctx: PrepareContext, x: Tensor, w: Tensor, bias: Tensor | None, output: Tensor
) -> None:
    ctx.require_shape(len(w.shape) >= 2, "filter must have at least 2 dimensions", w.shape)
    ctx.require_shape(len(output.shape) >= 1, "output must have at least 1 dimension", output.shape)
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
    pairs = [quantize_multiplier(real) for real in reals]
    low, high = quantized_range(ctx.options.get("fused_activation_function", 0), output)
    wide = x.dtype is DType.INT16 and not _int32_accumulator(ctx, bias)
    return Requantizer(
        tuple(m for m, _ in pairs),
        tuple(s for _, s in pairs),
        output.zero_point,
        low,
        high,
        output.dtype.numpy,
        wide,
    ).broadcast(output.shape[-1])


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
    batch = x.shape[0]
    rows = x.reshape(batch, -1)[:, : data.rows * data.accum_depth]
    if data.float_limits is not None:
        out = _evaluate_float(ctx, data, rows.reshape(batch, data.rows, data.accum_depth))
        ctx.set_output(0, out.reshape(-1, *data.output.shape))
        return
    offset = rows.astype(np.int32) + data.input_offset
    if data.filter is not None:
        flat = offset.reshape(batch * data.rows, data.accum_depth)
        sums = _gemm.matmul(flat, data.typed_weights, data.bound)
    else:
        w = ctx.input(1).astype(np.int32) + data.filter_offset
        w = w.reshape(w.shape[0], -1, data.accum_depth)[:, : data.output_depth]
        left = offset.reshape(batch, data.rows, data.accum_depth)
        sums = _gemm.matmul(left, np.swapaxes(w, 1, 2), data.bound)
    sums = sums.reshape(-1, data.output_depth)
    bias = _bias(ctx, data)
    if bias is not None:
        sums = sums.astype(np.int64) + bias[: data.output_depth]
    out = data.requantize(sums)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


def _bias(ctx: EvalContext, data: FullyConnected) -> np.ndarray | None:
    if data.bias is None or data.bias.is_constant:
        return data.bias_values
    return ctx.input(2).astype(np.int64)[0]


def _evaluate_float(ctx: EvalContext, data: FullyConnected, rows: np.ndarray) -> np.ndarray:
    w = ctx.input(1)
    w = w.reshape(w.shape[0], -1, data.accum_depth)[:, : data.output_depth]
    bias = ctx.optional_input(2)
    if bias is None:
        bias = np.zeros((1, data.output_depth), np.float32)
    bias = bias.reshape(bias.shape[0], -1)
    batch = max(rows.shape[0], w.shape[0], bias.shape[0])
    out = np.empty((batch, data.rows, data.output_depth), np.float32)
    _float_kernel(
        np.ascontiguousarray(rows), np.ascontiguousarray(w), bias, *data.float_limits, out
    )
    return out


@jit
def _float_kernel(x, w, bias, low, high, out):
    """Sums in the order of TFLM's loop, each step rounded to float32."""
    for n in range(out.shape[0]):
        for r in range(out.shape[1]):
            for o in range(out.shape[2]):
                total = x[0, 0, 0] * 0
                for d in range(w.shape[2]):
                    total += x[n % x.shape[0], r, d] * w[n % w.shape[0], o, d]
                total += bias[n % bias.shape[0], o]
                out[n, r, o] = min(max(total, low), high)


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
