"""UNIDIRECTIONAL_SEQUENCE_LSTM: gates from input and hidden state, step by step.

gate = f(FC(x_t) + FC(hidden)), f the sigmoid, for the cell gate the fused activation; cell = forget
* cell + input * cellgate, clipped; hidden = tanh(cell) * outputgate; output_t = hidden.
Shapes: input (N, T, I), or (T, N, I) where `time_major`; weights (S, I) and (S, S), biases (S),
states with N * S values, output as the input but S wide. Peepholes, projection and layer norm are
refused.
Quantization: int8 input, output and hidden state with int32 biases, or int16 with int64 biases; in
both int8 weights and int16 cell state whose scale is taken as a power of two; or float32. Weights
have one scale each; all multipliers come from double products of scales (decision 0004). Gates work
at 2^-12 before and 2^-15 after their function.
Scratch: four buffers of N * S values of the cell state's type.
Differs: CMSIS-NN starts every invocation from a zero cell state; this is the reference kernel. A
cell gate activation other than TANH leaves the gate as it is, as TFLM's release builds do. Sums
that overflow int32 wrap. Per-channel and computed weights are refused.
Source: `tensorflow/lite/micro/kernels/{unidirectional_sequence_lstm,lstm_eval,lstm_eval_common}.cc`
and `lstm_eval.h` beside them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro import _gemm
from refmicro._gemm import row_times
from refmicro._jit import jit
from refmicro.fixedpoint import clamp
from refmicro.ops import _activation as activation
from refmicro.ops._activation import float_range
from refmicro.ops._fixed_functions import checked_log2, sigmoid_table
from refmicro.ops._libm import tanhf
from refmicro.ops._product import Product
from refmicro.ops._requantize import (
    Requantizer,
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
from refmicro.ops.logistic import logistic_float, logistic_int16
from refmicro.ops.tanh import tanh_int16
from refmicro.types import INTEGER_LIMITS, DType, Tensor

_INPUT = 0
_HIDDEN, _CELL = 18, 19
_GATES = 1, 0, 3, 2
"""The order of gates here: forget, input, output, cell, as offsets into each group of tensors."""

_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = 1, 5, 12
_ABSENT = (9, 10, 11, 16, 17, 20, 21, 22, 23)

_GATE_INPUT_SCALE = 2.0**-12
_GATE_OUTPUT_SCALE = 2.0**-15
_NO_CLIP = 1 << 15
_PRODUCT_MAX = 1 << 30
"""Bound of the product of two int16 values."""

_ALL_INT16 = np.arange(1 << 16).astype(np.uint16).view(np.int16)

_BIAS_TYPES = {DType.FLOAT32: DType.FLOAT32, DType.INT8: DType.INT32, DType.INT16: DType.INT64}


@dataclass(frozen=True)
class Gates(Product):
    """The fully connected layers of four gates, side by side."""

    filters: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @cached_property
    def weights(self) -> np.ndarray:
        """All four filters with their offsets: (depth, 4 * S), int16 or float32."""
        parts = [w.array().T for w in self.filters]
        if self.requantize is not None:
            pairs = zip(parts, self.filters, strict=True)
            parts = [values.astype(np.int16) - w.zero_point for values, w in pairs]
        return np.ascontiguousarray(np.concatenate(parts, 1))

    @cached_property
    def constant_bias(self) -> np.ndarray:
        """All four biases, int64 or float32 of shape (4 * S,); zeros where there are none."""
        dtype = np.int64 if self.requantize is not None else np.float32
        if not self.biases:
            return np.zeros(self.channels, dtype)
        return np.concatenate([bias.array() for bias in self.biases]).astype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Float32 rows (R, depth) to (R, 4 * S)."""
        bias = self.constant_bias[None]
        return _gemm.float_matmul(x[None], self.weights[None], bias, self.float_limits)[0]


@dataclass(frozen=True)
class Lstm:
    """What eval needs; requantizers are None for float32.

    Attributes:
        cell_power: the cell state's scale is about 2^cell_power.
        cell_clip: the cell state's largest magnitude, None for no limit.
        forget_cell, input_cell, output_hidden: the three products between gates.
    """

    input: Tensor
    hidden: Tensor
    cell: Tensor
    output: Tensor
    time_major: bool
    activation: int
    from_input: Gates
    from_hidden: Gates
    cell_power: int
    cell_clip: float | None
    forget_cell: Requantizer | None
    input_cell: Requantizer | None
    output_hidden: Requantizer | None

    @property
    def width(self) -> int:
        """Values of one state."""
        return self.output.shape[2]

    @cached_property
    def kernel_arguments(self) -> tuple | None:
        """What `_sequences` takes beside tensors; None for float32."""
        if self.forget_cell is None:
            return None
        layers = [
            item
            for gates in (self.from_input, self.from_hidden)
            for item in (gates.typed_weights, gates.bounded.row_terms(gates.folded_bias))
        ]
        products = self.forget_cell, self.input_cell, self.output_hidden
        has_tanh = self.activation == activation.TANH
        return (
            *layers,
            *(requantize.broadcast(self.width).row_terms() for requantize in products),
            _sigmoid_results(),
            _tanh_results(-12) if has_tanh else np.empty(0, np.int16),
            _tanh_results(self.cell_power),
            _NO_CLIP if self.cell_clip is None else self.cell_clip,
        )


def prepare(ctx: PrepareContext) -> Lstm:
    """Check all tensors, derive multipliers."""
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    ctx.require(len(ctx.node.inputs) == 24, "must have 24 inputs", len(ctx.node.inputs))
    tensors = [ctx.optional_input(index) for index in range(24)]
    output = ctx.output(0)
    _check_tensors(ctx, tensors, output)
    x, hidden, cell = tensors[_INPUT], tensors[_HIDDEN], tensors[_CELL]
    batch, width = _check_shapes(ctx, tensors, output)
    quantized = cell.dtype is DType.INT16
    ctx.require_type("cell state", cell, DType.FLOAT32, DType.INT16)
    _check_types(ctx, tensors, quantized)
    clip = ctx.options.get("cell_clip", 0.0)
    clip = clip if clip > 0 else None
    power, products = 0, [None] * 3
    if quantized:
        power, products = _quantized(ctx, hidden, cell)
        clip = None if clip is None else int(min(clip / cell.scale, 32767.0))
    rows = {"x": x, "offset": _INPUT_WEIGHTS, "width": width}
    from_input = _gates(ctx, tensors, **rows, biases=_BIASES)
    from_hidden = _gates(ctx, tensors, **{**rows, "x": hidden, "offset": _RECURRENT_WEIGHTS})
    for _ in range(4):
        ctx.scratch(batch * width * cell.dtype.itemsize_bytes)
    return Lstm(
        x,
        hidden,
        cell,
        output,
        bool(ctx.options.get("time_major", False)),
        ctx.options.get("fused_activation_function", 0),
        from_input,
        from_hidden,
        power,
        clip,
        *products,
    )


def _check_tensors(ctx: PrepareContext, tensors: Sequence[Tensor | None], output: Tensor) -> None:
    """`ValidateTensorStatus`: which tensors are there, variables, equal types."""
    for index in (_INPUT, _HIDDEN, _CELL, *range(1, 9), *range(12, 16)):
        ctx.require(tensors[index] is not None, f"input {index} must be present", "-1")
    for index in _ABSENT:
        ctx.require(tensors[index] is None, f"input {index} must be absent", "a tensor")
    x = tensors[_INPUT]
    for what, index in (("hidden state", _HIDDEN), ("cell state", _CELL)):
        ctx.require(
            tensors[index].is_variable, f"the {what} must be a variable tensor", "it is not"
        )
    for what, tensor in (("hidden state", tensors[_HIDDEN]), ("output", output)):
        ctx.require(
            tensor.dtype is x.dtype,
            f"input and {what} must have one type",
            f"{x.dtype} and {tensor.dtype}",
        )
    for what, group in (("weights", tensors[1:9]), ("biases", tensors[12:16])):
        types = {tensor.dtype for tensor in group}
        ctx.require(len(types) == 1, f"all {what} must have one type", sorted(map(str, types)))
    ctx.require_shape(
        ctx.node.input_indices[_HIDDEN] != ctx.node.input_indices[_CELL],
        "hidden state and cell state must be two tensors",
        "one",
    )


def _check_shapes(
    ctx: PrepareContext, tensors: Sequence[Tensor], output: Tensor
) -> tuple[int, int]:
    """(batch size, state size) after `ValidateTensorSize`."""
    x, hidden = tensors[_INPUT], tensors[_HIDDEN]
    ctx.require_shape(len(x.shape) == 3, "input must have 3 dimensions", x.shape)
    ctx.require_shape(
        len(hidden.shape) >= 2, "the hidden state must have 2 dimensions", hidden.shape
    )
    width = hidden.shape[1]
    batch = x.shape[1] if ctx.options.get("time_major", False) else x.shape[0]
    for index in range(1, 9):
        wanted = (width, x.shape[2] if index < _RECURRENT_WEIGHTS else width)
        shape = tensors[index].shape
        ctx.require(shape == wanted, f"weights {index} must be of shape {list(wanted)}", shape)
    for index in range(12, 16):
        shape = tensors[index].shape
        ctx.require(shape == (width,), f"bias {index} must be of shape {[width]}", shape)
    for what, index in (("hidden", _HIDDEN), ("cell", _CELL)):
        count = tensors[index].elements
        ctx.require(
            count == batch * width, f"the {what} state must hold {batch * width} values", count
        )
    wanted = (*x.shape[:2], width)
    ctx.require(
        output.shape == wanted, f"output must be of shape {list(wanted)}", list(output.shape)
    )
    return batch, width


def _check_types(ctx: PrepareContext, tensors: Sequence[Tensor], quantized: bool) -> None:
    """Types that Eval refuses, and those that it reads as something else."""
    x, weights, bias = tensors[_INPUT], tensors[1], tensors[12]
    ctx.require_type("input", x, *_BIAS_TYPES)
    ctx.require_shape(
        quantized is (x.dtype is not DType.FLOAT32),
        "the cell state must be int16 for quantized and float32 for float inputs",
        f"{tensors[_CELL].dtype} for {x.dtype}",
    )
    if quantized:
        ctx.require_type("weights", weights, DType.INT8)
    ctx.require_shape(
        quantized or weights.dtype is DType.FLOAT32, "weights must be float32", weights.dtype
    )
    wanted = _BIAS_TYPES[x.dtype]
    ctx.require_shape(bias.dtype is wanted, f"biases of {x.dtype} must be {wanted}", bias.dtype)
    for index in (*range(1, 9), *range(12, 16)):
        ctx.require(tensors[index].is_constant, f"input {index} must be constant", "computed")


def _gates(
    ctx: PrepareContext,
    tensors: Sequence[Tensor],
    x: Tensor,
    offset: int,
    width: int,
    biases: int | None = None,
) -> Gates:
    """The four layers that read `x`, with weights from input `offset` on."""
    filters = tuple(tensors[offset + gate] for gate in _GATES)
    requantize = None
    if x.dtype is not DType.FLOAT32:
        require_zero_point(ctx, "input or hidden state", x)
        pairs = []
        for w in filters:
            require_zero_point(ctx, "weights", w)
            scales = len(w.quantization.scale) if w.quantization.is_affine else 0
            ctx.require_shape(
                scales <= 1, "weights must have one scale: TFLM reads no other", f"{scales} scales"
            )
            pair = multiplier_pair(ctx, x.scale * w.scale / _GATE_INPUT_SCALE, wide=_wide(x))
            pairs += [pair] * width
        limits = INTEGER_LIMITS[DType.INT16]
        columns = zip(*pairs, strict=True)
        requantize = Requantizer(*columns, 0, *limits, np.dtype(np.int16), _wide(x))
    return Gates(
        input=x,
        filter=filters[0],
        bias=None,
        output=tensors[_CELL],
        depth=filters[0].shape[1],
        channels=4 * width,
        input_zero_point=x.zero_point,
        filter_offset=0,
        requantize=requantize,
        float_limits=float_range(activation.NONE),
        filters=filters,
        biases=() if biases is None else tuple(tensors[biases + gate] for gate in _GATES),
    )


def _wide(x: Tensor) -> bool:
    """int16 activations have int64 sums, with a bias or without."""
    return x.dtype is DType.INT16


def _quantized(ctx: PrepareContext, hidden: Tensor, cell: Tensor) -> tuple[int, list[Requantizer]]:
    """(cell state's power of two, the products between gates)."""
    for what, tensor in (("hidden state", hidden), ("cell state", cell)):
        require_zero_point(ctx, what, tensor)
        ctx.require_shape(tensor.scale > 0, f"the {what} must have a scale above 0", tensor.scale)
    power, _ = checked_log2(cell.scale)
    ctx.require_shape(
        -42 <= power <= 17, "the cell state's scale must be in 2^-42..2^17", cell.scale
    )

    def product(left: float, right: float, output: Tensor, offset: int) -> Requantizer:
        multiplier, shift = multiplier_pair(ctx, left * right / output.scale)
        limits = INTEGER_LIMITS[output.dtype]
        pair = (multiplier,), (shift,)
        return Requantizer(*pair, offset, *limits, output.dtype.numpy, bound=_PRODUCT_MAX)

    gate = _GATE_OUTPUT_SCALE
    products = [
        product(gate, cell.scale, cell, 0),
        product(gate, gate, cell, 0),
        product(gate, gate, hidden, hidden.zero_point),
    ]
    return power, products


def evaluate(ctx: EvalContext, data: Lstm) -> None:
    """Every sequence from its state on, to new states."""
    hidden, cell = ctx.input(_HIDDEN).copy(), ctx.input(_CELL).copy()
    batch = hidden.shape[0]
    x = np.broadcast_to(ctx.input(_INPUT), (batch, *data.input.shape))
    if data.kernel_arguments is None:
        out, hidden, cell = _evaluate_float(data, x, hidden, cell)
    else:
        out = np.empty((batch, *data.output.shape), data.output.dtype.numpy)
        run_steps([_kernel_step(data, x, hidden, cell, out)])
    ctx.set_input(_HIDDEN, hidden.reshape(batch, *data.hidden.shape))
    ctx.set_input(_CELL, cell.reshape(batch, *data.cell.shape))
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: Lstm) -> list[Step] | None:
    """One call for all sequences; states are changed in place."""
    x, hidden, cell = ctx.input(_INPUT), ctx.input(_HIDDEN), ctx.input(_CELL)
    if data.kernel_arguments is None or x.shape[0] != ctx.rows:
        return None
    return [_kernel_step(data, x, hidden, cell, ctx.output(0))]


def _kernel_step(
    data: Lstm, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray, out: np.ndarray
) -> Step:
    states = hidden.reshape(-1, data.width), cell.reshape(-1, data.width)
    order = (0, 2, 1, 3) if data.time_major else (0, 1, 2, 3)
    x, out = x.transpose(order), out.transpose(order)
    return _sequences.ready, (x, *states, *data.kernel_arguments, out)


def _evaluate_float(
    data: Lstm, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(output, hidden state, cell state): all gates of one step at once, for every sequence."""
    batch = x.shape[0]
    # To (time, rows * sequences, inputs).
    order = (1, 0, 2, 3) if data.time_major else (2, 0, 1, 3)
    x = x.transpose(order)
    x = np.ascontiguousarray(x).reshape(x.shape[0], -1, x.shape[3])
    steps, rows = x.shape[:2]
    fed = data.from_input(x.reshape(steps * rows, -1)).reshape(steps, rows, -1)
    hidden, cell = hidden.reshape(rows, -1), cell.reshape(rows, -1)
    outputs = np.empty((steps, rows, data.width), hidden.dtype)
    for t in range(steps):
        hidden, cell = _step_float(data, fed[t], hidden, cell)
        outputs[t] = hidden
    outputs = outputs.reshape(steps, batch, -1, data.width)
    back = (1, 0, 2, 3) if data.time_major else (1, 2, 0, 3)
    return np.ascontiguousarray(outputs.transpose(back)), hidden, cell


@functools.cache
def _sigmoid_results() -> np.ndarray:
    """The sigmoid of every int16 value, by its bits."""
    out = np.empty(1 << 16, np.int16)
    logistic_int16(_ALL_INT16, 3, 0, sigmoid_table(), out)
    return out


@functools.cache
def _tanh_results(power: int) -> np.ndarray:
    """The hyperbolic tangent of every int16 value at scale 2^power, by its bits."""
    left = power + 12
    out = np.empty(1 << 16, np.int16)
    multiplier, shift = (3 << left, 0) if left >= 0 else (3, -left)
    tanh_int16(_ALL_INT16, multiplier, shift, sigmoid_table(), out)
    return out


@jit
def _sequences(
    x,
    hidden,
    cell,
    input_weights,
    input_terms,
    hidden_weights,
    hidden_terms,
    forget_cell,
    input_cell,
    output_hidden,
    sigmoid,
    gate_tanh,
    cell_tanh,
    clip,
    out,
):
    """All steps of each sequence of (batch, sequences, time, inputs); states follow in place."""
    width = hidden.shape[1]
    sums, products = np.empty(4 * width, input_weights.dtype), np.empty(width, np.int32)
    recurrent_sums = np.empty(4 * width, hidden_weights.dtype)
    fed, gates = np.empty(4 * width, np.int16), np.empty(4 * width, np.int16)
    kept, added = np.empty(width, np.int16), np.empty(width, np.int16)
    for row in range(hidden.shape[0]):
        batch, sequence = row // x.shape[1], row % x.shape[1]
        values, memory = hidden[row], cell[row]
        for t in range(x.shape[2]):
            row_times(x[batch, sequence, t], input_weights, sums)
            requantize_row(sums, input_terms, fed)
            row_times(values, hidden_weights, recurrent_sums)
            requantize_row(recurrent_sums, hidden_terms, gates)
            for i in range(4 * width):
                gates[i] = clamp(np.int64(fed[i]) + np.int64(gates[i]), -32768, 32767)
            _looked_up(gates[: 3 * width], sigmoid)
            _looked_up(gates[3 * width :], gate_tanh)
            for i in range(width):
                products[i] = np.int64(gates[i]) * np.int64(memory[i])
            requantize_row(products, forget_cell, kept)
            for i in range(width):
                products[i] = np.int64(gates[width + i]) * np.int64(gates[3 * width + i])
            requantize_row(products, input_cell, added)
            for i in range(width):
                total = clamp(np.int64(kept[i]) + np.int64(added[i]), -32768, 32767)
                memory[i] = kept[i] = clamp(total, -clip, clip)
            _looked_up(kept, cell_tanh)
            for i in range(width):
                products[i] = np.int64(kept[i]) * np.int64(gates[2 * width + i])
            requantize_row(products, output_hidden, values)
            out[batch, sequence, t] = values


@jit
def _looked_up(values, table):
    """Results of int16 values, in place, where the table has any."""
    if table.size > 0:
        for i in range(values.size):
            values[i] = table[np.int64(values[i]) & 65535]


def _step_float(
    data: Lstm, fed: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    gates = fed + data.from_hidden(hidden)
    sigmoids = logistic_float(gates[:, : 3 * data.width])
    forget, enter, leave = np.split(sigmoids, 3, 1)
    candidate = gates[:, 3 * data.width :]
    if data.activation == activation.TANH:
        candidate = tanhf(candidate)
    limits = data.from_input.float_limits
    cell = (forget * cell).clip(*limits) + (enter * candidate).clip(*limits)
    if data.cell_clip is not None:
        clip = np.float32(data.cell_clip)
        cell = cell.clip(-clip, clip)  # A NaN passes, as in TFLM's build.
    return (tanhf(cell) * leave).clip(*limits), cell


def macs(node: Node) -> int:
    """Four gates over input and hidden state, for every step of every sequence."""
    x, width = node.inputs[_INPUT], node.outputs[0].shape[2]
    return x.shape[0] * x.shape[1] * 4 * width * (x.shape[2] + width)


OP = OpSpec(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    prepare,
    evaluate,
    OpData(lp64=688, ilp32=688, cmsis_nn=912),
    params="TfLiteUnidirectionalSequenceLSTMParams",
    macs=macs,
    bind=bind,
)
