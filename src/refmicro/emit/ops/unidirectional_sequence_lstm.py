"""UNIDIRECTIONAL_SEQUENCE_LSTM of int8 and int16: all gates of one unit after another.

A step's hidden state is written to the output, and copied to the state when all units are done.
"""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import integer
from refmicro.emit.ops._elementwise import arena_type, parameter
from refmicro.emit.ops._product import require_narrow_sums
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op
from refmicro.ops import _activation as activation
from refmicro.ops._fixed_functions import sigmoid_table
from refmicro.types import DType

_HIDDEN, _CELL = 18, 19


def emit(op: Op) -> None:
    """Sequences and steps, units inside."""
    data = op.data
    if data.forget_cell is None:
        op.refuse("is float32")
    hidden, cell = op.input(_HIDDEN), op.input(_CELL)
    output = op.output()
    parameters = [parameter(op.input(0), "input")]
    sums = [
        _gate_sum(op, gates, source, name, parameters)
        for gates, source, name in (
            (data.from_input, "x", "input"),
            (data.from_hidden, "hidden", "recurrent"),
        )
    ]
    table = op.unit.constant("sigmoid", sigmoid_table().astype(np.uint16))
    parameters.append(("const uint16_t *", "table", table))
    parameters.append((f"{arena_type(hidden.c_type)} *", "hidden_state", hidden))
    parameters.append(("arena_int16_t *", "cell_state", cell))
    parameters.append(parameter(output, "output", write=True))
    op.kernel(parameters, _steps(op, sums))


def _gate_sum(op: Op, gates, source: str, name: str, parameters: list) -> str:
    """Statements that add one product to `gates[g]`."""
    depth, width = gates.depth, op.data.width
    weights = gates.weights.T
    narrow = weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127
    kind = np.int8 if narrow else np.int16
    bias = gates.folded_bias
    wide = gates.requantize.wide
    if not wide:
        require_narrow_sums(op, gates.raw_bound + int(np.abs(bias).max(initial=0)))
    total = "int64_t" if wide else "int32_t"
    filters = op.constant(f"{name}_filter", weights.astype(kind))
    biases = op.constant(f"{name}_bias", bias.astype(np.int64 if wide else np.int32))
    pairs = list(zip(gates.requantize.multipliers, gates.requantize.shifts, strict=True))[::width]
    multipliers = op.constant(f"{name}_multipliers", np.array([m for m, _ in pairs], np.int32))
    shifts = op.constant(f"{name}_shifts", np.array([s for _, s in pairs], np.int8))
    c_type = "int8_t" if narrow else "int16_t"
    parameters += [
        (f"const {c_type} *", f"{name}_filter", filters),
        (f"const {total} *", f"{name}_bias", biases),
        ("const int32_t *", f"{name}_multipliers", multipliers),
        ("const int8_t *", f"{name}_shifts", shifts),
    ]
    rescale = "rescaled_wide" if wide else "rescaled"
    value = f"{rescale}(sum, {name}_multipliers[g], {name}_shifts[g])"
    return f"""\
{{
    {total} sum = {name}_bias[g * {width} + u];
    for (int k = 0; k < {depth}; k++) {{
        sum += {source}[k] * {name}_filter[(g * {width} + u) * {depth} + k];
    }}
    gates[g] += {clamped(op, value, -32768, 32767)};
}}"""


def _steps(op: Op, sums: list[str]) -> str:
    data = op.data
    width = data.width
    x_shape = data.input.shape
    sequences, steps = (x_shape[1], x_shape[0]) if data.time_major else (x_shape[0], x_shape[1])
    row = f"t * {sequences} + n" if data.time_major else f"n * {steps} + t"
    value, hidden = arena_type(op.input(0).c_type), arena_type(op.input(_HIDDEN).c_type)
    gates = "\n".join(sums)
    return f"""\
for (int n = 0; n < {sequences}; n++) {{
    {hidden} *hidden = hidden_state + n * {width};
    for (int t = 0; t < {steps}; t++) {{
        const {value} *x = input + ({row}) * {x_shape[2]};
        {value} *y = output + ({row}) * {width};
        for (int u = 0; u < {width}; u++) {{
            int32_t gates[4] = {{0, 0, 0, 0}};
            for (int g = 0; g < 4; g++) {{
{_moved(gates, 4)}
                gates[g] = {clamped(op, "gates[g]", -32768, 32767)};
            }}
{_moved(_unit(op), 3)}
        }}
        for (int u = 0; u < {width}; u++) {{
            hidden[u] = y[u];
        }}
    }}
}}"""


def _moved(text: str, levels: int) -> str:
    return "\n".join(f"{'    ' * levels}{line}" for line in text.splitlines())


def _unit(op: Op) -> str:
    """From the four gates of a unit to its states; gates are forget, input, output, cell."""
    data = op.data
    width = data.width
    candidate = "gates[3]"
    if data.activation == activation.TANH:
        candidate = "tanh_int16(gates[3] * 3, table)"
    lines = [
        "const int32_t forget = logistic_int16(gates[0] * 3, table);",
        "const int32_t enter = logistic_int16(gates[1] * 3, table);",
        "const int32_t leave = logistic_int16(gates[2] * 3, table);",
        f"const int32_t candidate = {candidate};",
        f"arena_int16_t *cell = cell_state + n * {width} + u;",
        f"const int32_t kept = {_product(op, 'forget * *cell', data.forget_cell)};",
        f"const int32_t new = {_product(op, 'enter * candidate', data.input_cell)};",
        f"int32_t sum = {clamped(op, 'kept + new', -32768, 32767)};",
    ]
    if data.cell_clip is not None:
        clip = int(data.cell_clip)
        lines.append(f"sum = {clamped(op, 'sum', -clip, clip)};")
    lines.append("*cell = (int16_t)sum;")
    left = data.cell_power + 12
    if left >= 0:
        scaled_cell = f"wrapped_product(sum, {integer(3 << left)}, 0)"
    else:
        rounding = (1 << -left) >> 1
        scaled_cell = f"wrapped_product(sum, 3, {rounding}) >> {-left}"
    lines.append(f"const int32_t squashed = tanh_int16({scaled_cell}, table);")
    result = _product(op, "squashed * leave", data.output_hidden)
    c_type = {DType.INT8: "int8_t", DType.INT16: "int16_t"}[data.output.dtype]
    return "\n".join([*lines, f"y[u] = ({c_type}){result};"])


def _product(op: Op, x: str, requantize) -> str:
    pair = requantize.multipliers[0], requantize.shifts[0]
    offset = requantize.output_offset
    value = scaled(op, x, *pair, bound=requantize.bound, offset=offset)
    return clamped(op, value, requantize.low, requantize.high)
