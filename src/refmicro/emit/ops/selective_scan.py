"""SELECTIVE_SCAN: channels one after another, in each the steps, in each the state's values."""

from __future__ import annotations

from refmicro.emit.c_text import indented
from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._scale import clamped
from refmicro.emit.ops._scan_step import step_function
from refmicro.emit.unit import Op
from refmicro.ops.selective_scan import SERIAL, SKIP

_NAMES = ("u", "delta", "a", "b", "c", "skip", "z", "old")


def emit(op: Op) -> None:
    """One invocation: one step, or all T of them."""
    data, scan = op.data, op.data.scan
    steps = [step_function(op, data, step) for step in scan.sets]
    operands = {name: op.input(index) for index, name in enumerate(_NAMES)}
    parameters = [parameter(x, name) for name, x in operands.items() if x is not None]
    if scan.flags & SERIAL and len(set(steps)) > 1:
        parameters.append(parameter(op.input(8), "which"))
    if data.new_state is not None:
        parameters.append(parameter(op.output(1), "state", write=True))
    parameters.append(parameter(op.output(0), "y", write=True))
    if data.state is not None and data.new_state is None:
        parameters = [
            parameter(x, "state", write=True) if name == "old" else (c_type, name, x)
            for c_type, name, x in parameters
        ]
    op.kernel(parameters, _body(op, steps))


def _body(op: Op, steps: list[str]) -> str:
    scan, count = op.data.scan, op.data.scan.steps_at_once
    place = "d" if count == 1 else f"t * {scan.channels} + d"
    before = "" if len(set(steps)) == 1 else _choice(op, steps)
    at_step = "" if count == 1 else f" + t * {scan.size}"
    row = "" if op.data.shared_a else f" + d * {scan.size}"
    old, state, local = _state(op)
    arguments = [
        f"u[{place}]",
        f"delta[{place}]",
        f"a{row}" if op.input(2) is not None else "(const int8_t *)0",
        f"b{at_step}",
        f"c{at_step}",
        "skip[d]" if scan.flags & SKIP else "0",
        f"z[{place}]" if scan.gate else "0",
        old,
        state,
    ]
    name = steps[0] if not before else "steps[t + first]" if count > 1 else "steps[first]"
    inner = f"y[{place}] = (int8_t){name}(\n    {', '.join(arguments)});"
    if count > 1:
        inner = f"for (int t = 0; t < {count}; t++) {{\n{indented(inner)}\n}}"
    return f"{before}for (int d = 0; d < {scan.channels}; d++) {{\n{indented(local + inner)}\n}}"


def _state(op: Op) -> tuple[str, str, str]:
    """Expressions of a channel's old and new state, and what declares them."""
    data, size = op.data, op.data.scan.size
    row = f"state + d * {size}"
    if data.new_state is not None:
        old = f"old + d * {size}"
        return (old if data.scan.steps_at_once == 1 else f"t == 0 ? {old} : {row}"), row, ""
    if data.state is not None:
        return row, row, ""
    c_type = _state_type(op)
    fill = f"for (int n = 0; n < {size}; n++) {{\n    memory[n] = {data.scan.start};\n}}\n"
    return "memory", "memory", f"{c_type} memory[{size}];\n{fill}"


def _state_type(op: Op) -> str:
    return "int8_t" if op.data.scan.state_bits == 8 else "arena_int16_t"


def _choice(op: Op, steps: list[str]) -> str:
    """A table of the steps' functions, and which of them is the first of this invocation."""
    state = f"{_state_type(op)} *"
    rows = ", ".join(["const int8_t *"] * 3)
    types = f"int32_t, int32_t, {rows}, int32_t, int32_t, const {state}, {state}"
    first = "const int first = 0;\n"
    if op.data.scan.flags & SERIAL:
        last = op.data.scan.steps - 1
        first = f"const int first = (int){clamped(op, 'which[0]', 0, last)};\n"
    table = f"static int32_t (*const steps[{len(steps)}])(\n    {types}) = {{\n"
    return f"{table}    {', '.join(steps)}}};\n{first}"
