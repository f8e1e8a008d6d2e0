"""UNIDIRECTIONAL_SEQUENCE_LSTM of int8 and int16.

Generated kernels multiply the input and the hidden state of one step with the filters of all gates.
Gates are int16, and so are the kernels: int8 values are widened first, at most as many as a step
has. What no kernel covers is done unit by unit; a step's hidden state is then written to the
output, and copied to the state when all units are done.
"""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import integer
from refmicro.emit.ops import _mema
from refmicro.emit.ops._elementwise import arena_type, parameter
from refmicro.emit.ops._product import per_channel, require_narrow_sums
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.unit import Op, Place
from refmicro.mema.problem import Matmul
from refmicro.ops import _activation as activation
from refmicro.ops._fixed_functions import sigmoid_table
from refmicro.ops.unidirectional_sequence_lstm import Gates
from refmicro.types import DType

_HIDDEN, _CELL = 18, 19

_KERNEL = "KERNEL_NAME"


def emit(op: Op) -> None:
    """Sequences and steps, units inside."""
    data = op.data
    if data.forget_cell is None:
        op.refuse("is float32")
    hidden, cell = op.input(_HIDDEN), op.input(_CELL)
    output = op.output()
    parameters = [parameter(op.input(0), "input")]
    calls = [_kernel_call(op, gates) for gates in (data.from_input, data.from_hidden)]
    if all(calls):
        parameters += _scratch(op)
        body = _steps(op, *_from_kernels(op, calls), "hidden[u] = y[u];", "")
    else:
        body = _unit_by_unit(op, parameters)
    table = op.unit.constant("sigmoid", sigmoid_table().astype(np.uint16))
    parameters.append(("const uint16_t *", "table", table))
    parameters.append((f"{arena_type(hidden.c_type)} *", "hidden_state", hidden))
    parameters.append(("arena_int16_t *", "cell_state", cell))
    parameters.append(parameter(output, "output", write=True))
    op.kernel(parameters, body)


def _kernel_call(op: Op, gates: Gates) -> str:
    """`KERNEL({}, weights, {})` of a generated kernel for one row; empty where there is none."""
    weights = gates.weights
    if weights.min(initial=0) < -128 or weights.max(initial=0) > 127:
        return ""
    problem = Matmul(
        output_depth=gates.channels,
        accum_depth=gates.depth,
        rows=1,
        input_bits=16,
        per_channel=per_channel(gates.requantize),
        bias=bool(gates.constant_bias.any()),
    )
    found = _mema.kernel_of(gates, problem, op.unit.target, _KERNEL)
    if found is None:
        return ""
    kernel, packed = found
    text = kernel.text.replace(kernel.prototype, f"static {kernel.prototype}")
    name = op.unit.whole_function(op.base, text, _KERNEL)
    return f"{name}({{}}, &{op.weights(packed)}, {{}});"


def _scratch(op: Op) -> list[tuple[str, str, Place]]:
    """Memory for a widened row, and for what both products give."""
    data = op.data
    row = max(data.from_input.depth, data.from_hidden.depth)
    gates = data.from_input.channels
    return [
        ("arena_int16_t *", name, op.scratch(2 * count))
        for name, count in (("row", row), ("fed", gates), ("back", gates))
    ]


def _from_kernels(op: Op, calls: list[str]) -> tuple[str, str]:
    """Statements before the units of a step, and those that give the gates of one."""
    data = op.data
    width = data.width
    before = "\n".join(
        f"for (int k = 0; k < {gates.depth}; k++) {{\n    row[k] = {source}[k];\n}}\n"
        f"{call.format('row', result)}"
        for gates, source, call, result in (
            (data.from_input, "x", calls[0], "fed"),
            (data.from_hidden, "hidden", calls[1], "back"),
        )
    )
    lines = ["int32_t gates[4];"]
    for gate in range(4):
        place = f"{gate * width} + u" if gate else "u"
        both = clamped(op, f"fed[{place}] + back[{place}]", -32768, 32767)
        lines.append(f"gates[{gate}] = {both};")
    return before, "\n".join(lines)


def _unit_by_unit(op: Op, parameters: list) -> str:
    data = op.data
    sums = [
        _gate_sum(op, gates, source, name, parameters)
        for gates, source, name in (
            (data.from_input, "x", "input"),
            (data.from_hidden, "hidden", "recurrent"),
        )
    ]
    both = "\n".join(sums)
    gates = f"""\
int32_t gates[4] = {{0, 0, 0, 0}};
for (int g = 0; g < 4; g++) {{
{_moved(both, 1)}
    gates[g] = {clamped(op, "gates[g]", -32768, 32767)};
}}"""
    after = f"for (int u = 0; u < {data.width}; u++) {{\n    hidden[u] = y[u];\n}}"
    return _steps(op, "", gates, "", after)


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


def _steps(op: Op, before: str, gates: str, kept: str, after: str) -> str:
    """Loops over sequences, steps and units.

    Args:
        op: the operator.
        before, after: statements of a step around those of its units.
        gates: statements of a unit that give `gates`.
        kept: statements of a unit behind its output.
    """
    data = op.data
    width = data.width
    x_shape = data.input.shape
    sequences, steps = (x_shape[1], x_shape[0]) if data.time_major else (x_shape[0], x_shape[1])
    row = f"t * {sequences} + n" if data.time_major else f"n * {steps} + t"
    value, hidden = arena_type(op.input(0).c_type), arena_type(op.input(_HIDDEN).c_type)
    unit = "\n".join(part for part in (gates, _unit(op), kept) if part)
    step = "\n".join(
        part
        for part in (
            f"const {value} *x = input + ({row}) * {x_shape[2]};",
            f"{value} *y = output + ({row}) * {width};",
            before,
            f"for (int u = 0; u < {width}; u++) {{\n{_moved(unit, 1)}\n}}",
            after,
        )
        if part
    )
    return f"""\
for (int n = 0; n < {sequences}; n++) {{
    {hidden} *hidden = hidden_state + n * {width};
    for (int t = 0; t < {steps}; t++) {{
{_moved(step, 2)}
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
