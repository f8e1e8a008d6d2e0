"""SVDF: a layer factored by rank, a filter over features and one over time, with memory.

state = state shifted by one step; state[.., -1] = zs + clamp(requantize1(W_feature (in - zx)));
output[u] = clamp(requantize2(sum over the rank of W_time (state - zs) + bias[u]) + zo).
Shapes: input (N, input size), feature weights (F, input size), time weights (F, memory), bias (F /
rank), state (N, F * memory), output (N, F / rank).
Quantization: int8 input, output and feature weights, int32 bias, time weights and state both int8
or both int16; float32. Weights are symmetric. Both multipliers come from doubles (decision 0004).
Integers have no activation; float32 has any, TANH and SIGN_BIT too.
Scratch: 4 bytes for each value of the state's last step; for integers 4 more an output.
Differs: bias must be there, TFLM would crash; computed weights are refused; time weights and state
of different types are refused, TFLM would write beyond the state. Which NaN a float is, is not
promised.
Source: `tensorflow/lite/micro/kernels/svdf{,_common}.cc`, `activation_utils.h` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro import _gemm, _int8_gemm
from refmicro._gemm import row_times
from refmicro._jit import jit
from refmicro.ops import _activation as activation
from refmicro.ops._libm import tanhf
from refmicro.ops._product import Product
from refmicro.ops._requantize import (
    Requantizer,
    largest_magnitude,
    multiplier_pair,
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
from refmicro.types import INTEGER_LIMITS, DType, Tensor

_BIAS_DIFFERENCE_MAX = 1e-5
_FEW_ROWS = 4
"""Up to so many rows, one call for everything is faster than a product of bytes."""

_INFINITE = np.float32(-np.inf), np.float32(np.inf)


@dataclass(frozen=True)
class Svdf:
    """What eval needs; `feature` and `rescale` are None for float32."""

    input: Tensor
    feature_weights: Tensor
    time_weights: Tensor
    bias: Tensor
    state: Tensor
    output: Tensor
    rank: int
    activation: int
    feature: Product | None
    rescale: Requantizer | None

    @property
    def filters(self) -> int:
        """Rows of both weights."""
        return self.feature_weights.shape[0]

    @property
    def memory(self) -> int:
        """Steps that the state holds."""
        return self.time_weights.shape[1]

    @cached_property
    def unit_weights(self) -> np.ndarray:
        """Time weights by unit: (units, rank * memory), in a type that holds its sums."""
        weights = self.time_weights.array().astype(np.int64)
        weights = weights.reshape(-1, self.rank * self.memory)
        small = self.raw_time_bound < 1 << 31
        return weights.astype(np.int32 if small else np.int64)

    @cached_property
    def _magnitude(self) -> int:
        weights = np.abs(self.time_weights.array().astype(np.int64))
        return int(weights.reshape(-1, self.rank * self.memory).sum(1).max())

    @cached_property
    def raw_time_bound(self) -> int:
        """Bound of a sum of products of states as they are."""
        return self._magnitude * largest_magnitude(self.state)

    @cached_property
    def time_bias(self) -> np.ndarray:
        """Bias less the state's zero point times the time weights, int64 of shape (units,)."""
        folded = self.state.zero_point * self.unit_weights.astype(np.int64).sum(1)
        return self.bias.array().reshape(-1)[: folded.size].astype(np.int64) - folded

    @cached_property
    def packed(self) -> _int8_gemm.PackedWeights:
        """Feature weights as bytes; needs `has_bytes`."""
        feature = self.feature
        return _int8_gemm.pack(feature.weights, feature.folded_bias, feature.requantize.rescale)

    @cached_property
    def feature_terms(self) -> tuple:
        """What `requantize_row` takes for features."""
        return self.feature.bounded.row_terms(self.feature.folded_bias)

    @cached_property
    def time_terms(self) -> tuple:
        """What `requantize_row` takes for sums over time."""
        return self.bounded.row_terms(self.time_bias)

    @cached_property
    def bounded(self) -> Requantizer:
        """The second requantizer, knowing how large sums get."""
        bias = int(np.abs(self.bias.array().astype(np.int64)).max(initial=0))
        states = largest_magnitude(self.state, -self.state.zero_point)
        return self.rescale.within(self._magnitude * states + bias)


def prepare(ctx: PrepareContext) -> Svdf:
    """Check shapes and types, derive both multipliers."""
    x, feature, time = ctx.input(0), ctx.input(1), ctx.input(2)
    bias, state = ctx.optional_input(3), ctx.input(4)
    for what, tensor in (("input", x), ("feature weights", feature), ("time weights", time)):
        ctx.require_shape(len(tensor.shape) == 2, f"{what} must have 2 dimensions", tensor.shape)
    rank = ctx.options.get("rank", 0)
    ctx.require_shape(rank > 0, "rank must be above 0", rank)
    filters = feature.shape[0]
    ctx.require(filters % rank == 0, f"filters must divide by the rank {rank}", filters)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    output = ctx.output(0)
    units, memory = filters // rank, time.shape[1]
    _require_shape(ctx, "output", output, (x.shape[0], units))
    _require_shape(ctx, "feature weights", feature, (filters, x.shape[1]))
    _require_shape(ctx, "time weights", time, (filters, memory))
    ctx.require_shape(bias is not None, "bias must be there: TFLM would crash", "input 3 is -1")
    ctx.require_shape(bias.shape != (), "bias must have 1 dimension", bias.shape)
    ctx.require(bias.shape[0] == units, f"bias must have {units} values", bias.shape)
    _require_shape(ctx, "state", state, (x.shape[0], memory * filters))
    ctx.require(state.is_variable, "the state must be a variable tensor", "it is not")
    ctx.require(len(ctx.node.inputs) == 5, "must have 5 inputs", len(ctx.node.inputs))
    _check_types(ctx, x, feature, time, bias, state, output)
    product = rescale = None
    if x.dtype is DType.INT8:
        product, rescale = _quantized(ctx, x, feature, time, bias, state, output)
    ctx.scratch(4 * x.shape[0] * filters)
    if x.dtype is DType.INT8:
        ctx.scratch(4 * x.shape[0] * units)
    for what, tensor in (("feature weights", feature), ("time weights", time), ("bias", bias)):
        ctx.require(tensor.is_constant, f"{what} must be constant", "computed")
    function = ctx.options.get("fused_activation_function", 0)
    return Svdf(x, feature, time, bias, state, output, rank, function, product, rescale)


def _require_shape(ctx: PrepareContext, what: str, tensor: Tensor, shape: tuple) -> None:
    ctx.require(tensor.shape == shape, f"{what} must be of shape {list(shape)}", list(tensor.shape))


def _check_types(ctx: PrepareContext, x: Tensor, *tensors: Tensor) -> None:
    feature, time, bias, state, output = tensors
    if x.dtype is DType.FLOAT32:
        names = "feature weights", "time weights", "bias", "state", "output"
        for what, tensor in zip(names, tensors, strict=True):
            ctx.require_type(what, tensor, DType.FLOAT32)
        return
    ctx.require_type("feature weights", feature, DType.INT8)
    ctx.require_type("time weights", time, DType.INT16, DType.INT8)
    ctx.require_type("state", state, DType.INT16, DType.INT8)
    ctx.require_type("bias", bias, DType.INT32)
    ctx.require_type("output", output, DType.INT8)
    ctx.require_shape(
        time.dtype is state.dtype,
        "time weights and state must have one type",
        f"{time.dtype} and {state.dtype}",
    )


def _quantized(ctx: PrepareContext, x: Tensor, *tensors: Tensor) -> tuple[Product, Requantizer]:
    """The product over features, and the last requantization."""
    feature, time, bias, state, output = tensors
    for what, tensor in (("input", x), ("state", state), ("output", output)):
        require_zero_point(ctx, what, tensor)
    for what, tensor in (("state", state), ("output", output)):
        ctx.require_shape(tensor.scale > 0, f"{what} must have a scale above 0", tensor.scale)
    time_scale = state.scale * time.scale
    ctx.require(
        abs(bias.scale - time_scale) < _BIAS_DIFFERENCE_MAX,
        "bias scale must be close to state scale * time weights scale",
        f"{bias.scale} against {time_scale}",
    )
    first = multiplier_pair(ctx, x.scale * feature.scale / state.scale)
    second = multiplier_pair(ctx, time_scale / output.scale)
    filters = feature.shape[0]
    limits = INTEGER_LIMITS[state.dtype]
    columns = Requantizer((first[0],), (first[1],), 0, *limits, state.dtype.numpy)
    product = Product(
        input=x,
        filter=feature,
        bias=None,
        output=state,
        depth=x.shape[1],
        channels=filters,
        input_zero_point=x.zero_point,
        filter_offset=0,
        requantize=columns.broadcast(filters),
        float_limits=_INFINITE,
    )
    limits = INTEGER_LIMITS[DType.INT8]
    rescale = Requantizer((second[0],), (second[1],), output.zero_point, *limits, np.dtype(np.int8))
    return product, rescale.broadcast(output.shape[1])


def evaluate(ctx: EvalContext, data: Svdf) -> None:
    """One step: shift the state, put the new features at its end, sum over time."""
    state = ctx.input(4)
    x = np.broadcast_to(ctx.input(0), (state.shape[0], *data.input.shape))
    if data.feature is None:
        out, state = _evaluate_float(data, x.reshape(-1, x.shape[2]), state)
    else:
        state = state.copy()
        out = np.empty((state.shape[0], *data.output.shape), np.int8)
        run_steps(_steps(data, x, state, out))
    ctx.set_input(4, state)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: Svdf) -> list[Step] | None:
    """A call for features and memory; the state is changed in place."""
    x = ctx.input(0)
    if data.feature is None or x.shape[0] != ctx.rows:
        return None
    return _steps(data, x, ctx.input(4), ctx.output(0))


def _steps(data: Svdf, x: np.ndarray, state: np.ndarray, out: np.ndarray) -> list[Step]:
    feature = data.feature
    x, out = x.reshape(-1, feature.depth), out.reshape(-1, data.filters // data.rank)
    state = state.reshape(x.shape[0], data.filters, data.memory)
    latest = np.empty((x.shape[0], data.filters), state.dtype)
    memory = (latest, state, data.state.zero_point, data.unit_weights, data.time_terms, out)
    if x.shape[0] > _FEW_ROWS and feature.has_bytes:
        rows = _int8_gemm.fit(x, data.packed)
        copies = [] if rows is x else [(np.copyto, (rows[:, : feature.depth], x))]
        product = _int8_gemm.product_step(rows, data.packed, latest)
        return [*copies, product, (_remember.ready, memory)]
    return [(_step.ready, (x, feature.typed_weights, data.feature_terms, *memory))]


@jit
def _step(x, feature_weights, feature_terms, latest, state, zero_point, weights, terms, out):
    sums = np.empty(latest.shape[1], feature_weights.dtype)
    for row in range(x.shape[0]):
        row_times(x[row], feature_weights, sums)
        requantize_row(sums, feature_terms, latest[row])
    _remember(latest, state, zero_point, weights, terms, out)


@jit
def _remember(latest, state, zero_point, weights, terms, out):
    """The state moves on by one value; then sums by unit, of integers in any order."""
    last = state.shape[2] - 1
    kind, narrow = weights.dtype.type, state.dtype.type
    totals = np.empty(out.shape[1], weights.dtype)
    for row in range(out.shape[0]):
        memory = state[row].reshape(-1)
        # As a slice it would be copied in between.
        for i in range(memory.size - 1):
            memory[i] = memory[i + 1]
        for i in range(latest.shape[1]):
            # The zero point is added after the clamp, so that the sum may wrap in the state's type.
            state[row, i, last] = narrow(np.int64(latest[row, i]) + zero_point)
        for unit in range(totals.size):
            first = unit * weights.shape[1]
            total = kind(0)
            for k in range(weights.shape[1]):
                total = kind(total + kind(memory[first + k]) * weights[unit, k])
            totals[unit] = total
        _rescale(totals, terms, out[row])


@jit
def _rescale(totals, terms, out):
    """A call of its own: within the loop above, that one is no longer compiled to vectors."""
    requantize_row(totals, terms, out)


def _evaluate_float(data: Svdf, x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(output, state)"""
    # The end of each filter's memory is written below, whatever is shifted into it.
    shifted = np.empty((x.shape[0], data.filters * data.memory), state.dtype)
    shifted[:, :-1] = state.reshape(shifted.shape)[:, 1:]
    out = _step_float(data, x, shifted.reshape(-1, data.filters, data.memory))
    return out.reshape(-1, *data.output.shape), shifted.reshape(state.shape)


def _step_float(data: Svdf, x: np.ndarray, state: np.ndarray) -> np.ndarray:
    weights = data.feature_weights.array().T[None]
    zeros = np.zeros((1, data.filters), np.float32)
    state[:, :, -1] = _gemm.float_matmul(x[None], weights, zeros, _INFINITE)[0]
    out = np.empty((x.shape[0], data.filters // data.rank), np.float32)
    bias = data.bias.array().reshape(-1)
    _sum_over_time(state, data.time_weights.array(), bias, data.rank, out)
    return _activate(data.activation, out)


@jit
def _sum_over_time(state, weights, bias, rank, out):
    """Products are summed over time first and then over the rank, each step rounded."""
    for row in range(out.shape[0]):
        for unit in range(out.shape[1]):
            total = bias[unit]
            for i in range(unit * rank, (unit + 1) * rank):
                part = np.float32(0)
                for k in range(state.shape[2]):
                    part += weights[i, k] * state[row, i, k]
                total += part
            out[row, unit] = total


def _activate(function: int, x: np.ndarray) -> np.ndarray:
    """`ActivationValFloat`: unlike other operators it knows TANH and SIGN_BIT."""
    zero, one = np.float32(0), np.float32(1)
    if function == activation.RELU:
        return np.fmax(zero, x)
    if function == activation.RELU_N1_TO_1:
        return np.fmax(-one, np.fmin(x, one))
    if function == activation.RELU6:
        return np.fmax(zero, np.fmin(x, np.float32(6)))
    if function == activation.TANH:
        return tanhf(x)
    if function == activation.SIGN_BIT:
        return np.signbit(x).astype(np.float32)
    return x


def macs(node: Node) -> int:
    """Every filter's features and time steps, for each row."""
    feature, time = node.inputs[1], node.inputs[2]
    return node.inputs[0].shape[0] * (feature.elements + time.elements)


OP = OpSpec(
    "SVDF",
    prepare,
    evaluate,
    OpData(lp64=36, ilp32=36, cmsis_nn=40),
    params="TfLiteSVDFParams",
    macs=macs,
    bind=bind,
)
