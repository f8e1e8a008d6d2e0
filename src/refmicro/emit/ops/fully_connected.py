"""FULLY_CONNECTED: by a kernel that is generated for the shape where the filter is constant.

A filter that the graph computes, such as the state of a scan, is read as it lies.
"""

from __future__ import annotations

from refmicro.emit.c_text import plus, real
from refmicro.emit.ops import _mema
from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._product import (
    constants_of,
    folded_bias,
    requantized,
    sum_type,
)
from refmicro.emit.unit import Op, Operand
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = requantize(input x filter^T + bias)."""
    data = op.data
    if data.requantize is None:
        _emit_float(op)
        return
    constant = data.filter.is_constant
    bias = folded_bias(op, data, fold=constant)
    if constant and _mema.emit_product(op, data, data.rows):
        return
    x, output = op.input(0), op.output()
    filters = _filter(op, data) if constant else op.input(1)
    parameters = [parameter(x, "input")]
    if isinstance(filters, Operand):
        parameters.append(parameter(filters, "filter"))
    else:
        parameters.append(("const int16_t *", "filter", filters))
    parameters += constants_of(op, data.requantize)
    if bias is not None:
        name = op.constant("bias", bias)
        parameters.append((f"const {sum_type(data.requantize)} *", "bias", name))
    parameters.append(parameter(output, "output", write=True))
    value = "input[r * DEPTH + k]"
    weight = "filter[o * DEPTH + k]"
    if not constant:
        value = plus(value, -data.input_zero_point)
        weight = plus(weight, data.filter_offset)
    largest = 0 if bias is None else int(abs(bias).max())
    bound = (data.raw_bound if constant else data.bound) + largest
    result = requantized(op, data.requantize, "sum", "o", bound)
    total = sum_type(data.requantize)
    text = f"""\
for (int r = 0; r < {data.rows}; r++) {{
    for (int o = 0; o < {data.channels}; o++) {{
        {total} sum = {"0" if bias is None else "bias[o]"};
        for (int k = 0; k < DEPTH; k++) {{
            sum += {value} * {weight};
        }}
        output[r * {data.channels} + o] = {result};
    }}
}}"""
    op.kernel(parameters, text.replace("DEPTH", str(data.depth)))


def _filter(op: Op, data) -> Operand | str:
    """The constant filter, with its zero point where it has one."""
    if data.filter_offset == 0 and data.filter.dtype is DType.INT8:
        return op.input(1)
    return op.constant("filter", data.weights.T.copy())


def _emit_float(op: Op) -> None:
    """Sums in the order of depth, as TFLM takes them."""
    data = op.data
    bias = op.input(2)
    low, high = map(real, data.float_limits)
    parameters = [parameter(op.input(0), "input"), parameter(op.input(1), "filter")]
    if bias is not None:
        parameters.append(parameter(bias, "bias"))
    parameters.append(parameter(op.output(), "output", write=True))
    end = "sum" if bias is None else "sum + bias[o]"
    text = f"""\
for (int r = 0; r < {data.rows}; r++) {{
    for (int o = 0; o < {data.channels}; o++) {{
        float sum = 0.0f;
        for (int k = 0; k < {data.depth}; k++) {{
            sum += input[r * {data.depth} + k] * filter[o * {data.depth} + k];
        }}
        output[r * {data.channels} + o] = clamp_float({end}, {low}, {high});
    }}
}}"""
    op.kernel(parameters, text)
