"""SVDF: features of the input enter a memory of past steps, over which each unit sums.

Memory is shifted, filled and summed in one walk, so that no scratch memory is needed beside the
features, which for rank 1 lie where the output will be.
"""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops import _mema
from refmicro.emit.ops._elementwise import arena_type, parameter
from refmicro.emit.ops._product import folded_bias
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op, Operand
from refmicro.types import DType


def emit(op: Op) -> None:
    """One step."""
    data = op.data
    if data.feature is None:
        op.refuse("is float32")
    x, output, state = op.input(0), op.output(), op.input(4)
    bias = folded_bias(op, data.feature)
    rows = data.input.shape[0]
    features = _features(op, rows)
    times = op.input(2)
    parameters = [
        (f"const {times.c_type} *", "times", times),
        ("const int32_t *", "bias", op.constant("bias", data.time_bias.astype(np.int32))),
        (f"{arena_type(state.c_type)} *", "state", state),
    ]
    if features is None:
        parameters = [parameter(x, "input"), parameter(op.input(1), "filter"), *parameters]
        if bias is not None:
            parameters.append(("const int32_t *", "offsets", op.constant("offsets", bias)))
    elif data.rank > 1:
        parameters.append(("const int8_t *", "features", features))
    parameters.append(parameter(output, "output", write=True))
    op.kernel(parameters, _walk(op, bias is not None, rows, features))


def _features(op: Op, rows: int) -> Operand | object | None:
    """Where a generated kernel leaves the features, None where there is none."""
    data = op.data
    if data.state.dtype is not DType.INT8:
        return None
    output = op.output()
    where = output if data.rank == 1 else op.scratch(rows * data.filters)
    return where if _mema.emit_product(op, data.feature, rows, output=where) else None


def _walk(op: Op, has_bias: bool, rows: int, features: Operand | object | None) -> str:
    """The loops: rows, units, the rank, memory."""
    data = op.data
    memory, units, rank = data.memory, op.output().tensor.shape[1], data.rank
    state_type = op.input(4).c_type
    if features is None:
        depth = data.feature.depth
        requantize = data.feature.requantize
        pair = requantize.multipliers[0], requantize.shifts[0]
        value = scaled(op, "sum", *pair, bound=data.feature.bound)
        value = clamped(op, value, requantize.low, requantize.high)
        start = "offsets[f]" if has_bias else "0"
        feature = f"""\
int32_t sum = {start};
for (int k = 0; k < {depth}; k++) {{
    sum += input[n * {depth} + k] * filter[f * {depth} + k];
}}
"""
    else:
        feature = ""
        value = "output" if rank == 1 else "features"
        value = f"{value}[n * {data.filters} + f]"
    wraps = data.raw_time_bound + int(np.abs(data.time_bias).max(initial=0)) >= 1 << 31
    kind, cast = ("uint32_t", "(uint32_t)") if wraps else ("int32_t", "")
    total = f"{cast}(memory[{{0}}] * factors[{{0}}])" if wraps else "memory[{0}] * factors[{0}]"
    zero_point = data.state.zero_point
    last = f"{value} + {zero_point}" if zero_point else value
    requantize = data.bounded
    pair = requantize.multipliers[0], requantize.shifts[0]
    offset = requantize.output_offset
    result = scaled(
        op, "(int32_t)total" if wraps else "total", *pair, bound=requantize.bound, offset=offset
    )
    result = clamped(op, result, requantize.low, requantize.high)
    return f"""\
for (int n = 0; n < {rows}; n++) {{
    for (int u = 0; u < {units}; u++) {{
        {kind} total = {cast}bias[u];
        for (int f = u * {rank}; f < (u + 1) * {rank}; f++) {{
            {arena_type(state_type)} *memory = state + (n * {data.filters} + f) * {memory};
            const {op.input(2).c_type} *factors = times + f * {memory};
{_moved(feature, 3)}\
            for (int m = 0; m < {memory - 1}; m++) {{
                memory[m] = memory[m + 1];
                total += {total.format("m")};
            }}
            memory[{memory - 1}] = ({state_type})({last});
            total += {total.format(memory - 1)};
        }}
        output[n * {units} + u] = (int8_t){result};
    }}
}}"""


def _moved(text: str, levels: int) -> str:
    return "".join(f"{'    ' * levels}{line}\n" for line in text.splitlines())
