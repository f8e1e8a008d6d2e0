"""One step of one channel of a selective scan as a C function, with all its numbers baked in."""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import indented, plus
from refmicro.emit.ops._scale import clamped, scaled
from refmicro.emit.ops._short_forms import long_sum, product, total
from refmicro.emit.unit import Op
from refmicro.ops.selective_scan import (
    COLUMNS,
    DRIVEN,
    MINUS_A,
    MINUS_DELTA,
    SKIP,
    SUM,
    UNIT,
    Prepared,
    Product,
    Step,
)

_MOST_UINT8 = 255

_MOST_UNROLLED = 32


def step_function(op: Op, data: Prepared, step: Step) -> str:
    """The name of the function.

    It takes u, delta, the channel's row of A, the step's B and C, the channel's D, z, the old and
    the new state, and returns y.
    """
    lines = _before(op, data, step)
    body = _loop_int8 if data.scan.state_bits == 8 else _loop_int16
    before, loop = body(op, data, step)
    lines += [*before, "int32_t sum = 0;", *_unrolled(op, data.scan.size)]
    lines.append(f"for (int n = 0; n < {data.scan.size}; n++) {{")
    lines += [indented(line) for line in loop]
    lines += ["}", *_after(op, data, step)]
    text = "\n".join(lines)
    state = "int8_t" if data.scan.state_bits == 8 else "arena_int16_t"
    declared = {
        "x": "int32_t x",
        "delta": "int32_t delta",
        "a": "const int8_t *a",
        "b": "const int8_t *b",
        "c": "const int8_t *c",
        "skip": "int32_t skip",
        "z": "int32_t z",
        "old": f"const {state} *old",
        "state": f"{state} *state",
    }
    unused = "\n".join(f"(void){name};" for name in declared if not _mentions(text, name))
    body = f"{unused}\n{text}" if unused else text
    head = ",\n    ".join(declared.values())
    return op.unit.whole_function(
        f"{op.base}_step",
        f"static inline int32_t NAME(\n    {head})\n{{\n{indented(body)}\n}}\n",
    )


def _unrolled(op: Op, size: int) -> list[str]:
    """Without a loop the rows' addresses are immediate, which leaves more registers."""
    if not op.unit.target.startswith("cortex-m") or size > _MOST_UNROLLED:
        return []
    return ["#if defined(__GNUC__) && !defined(__clang__)", f"#pragma GCC unroll {size}", "#endif"]


def _mentions(text: str, name: str) -> bool:
    words = "".join(c if c.isalnum() or c == "_" else " " for c in text).split()
    return name in words


def _before(op: Op, data: Prepared, step: Step) -> list[str]:
    """What does not depend on n: s and s * u."""
    scan, flags = data.scan, data.scan.flags
    lines = []
    if not flags & DRIVEN or not flags & (SUM | COLUMNS):
        table = np.array(scan.delta, np.int8 if scan.state_bits == 8 else np.int16)
        lines.append(f"const int32_t s = {op.constant('delta', table)}[delta + 128];")
    if flags & DRIVEN:
        return [*lines, "const int32_t drive = x;"]
    x = f"{plus('s', step.drive.a_offset)} * {plus('x', step.drive.b_offset)}"
    if scan.state_bits == 8:
        value = product(op, x, step.drive, scan.delta)
    else:
        value = _wide(op, x, step.drive, 32768, 128)
    return [*lines, f"const int32_t drive = {value};"]


def _loop_int8(op: Op, data: Prepared, step: Step) -> tuple[list[str], list[str]]:
    """What stands before the loop over n, and in it."""
    scan = data.scan
    drives = range(-128, 128) if scan.flags & DRIVEN else range(step.drive.low, step.drive.high + 1)
    x = f"{plus('drive', step.input.a_offset)} * {plus('b[n]', step.input.b_offset)}"
    given = product(op, x, step.input, tuple(drives))
    before: list[str] = []
    if step.fresh:
        lines = [f"const int32_t h = {given};"]
    else:
        decay = np.array(step.decay, np.int64) + step.keep.a_offset
        small = decay.min() >= 0 and decay.max() <= _MOST_UINT8
        table = op.constant("decay", decay.astype(np.uint8 if small else np.int16))
        statement, entry = _entry_int8(op, data, step)
        before = [statement] if statement else []
        x = f"{table}[{entry}] * {plus('old[n]', step.keep.b_offset)}"
        ranges = (step.keep.low, step.keep.high), (step.input.low, step.input.high)
        lines = [
            f"const int32_t given = {given};",
            f"const int32_t kept = {product(op, x, step.keep, step.decay)};",
            f"const int32_t h = {total(op, 'kept', 'given', step.update, ranges)[1]};",
        ]
    h, weight = plus("h", step.output.a_offset), plus("c[n]", step.output.b_offset)
    return before, [*lines, "state[n] = (int8_t)h;", f"sum += {h} * {weight};"]


def _entry_int8(op: Op, data: Prepared, step: Step) -> tuple[str, str]:
    """A statement before the loop, and the index into the decay table."""
    flags = data.scan.flags
    if flags & COLUMNS:
        return "", "256 * n + delta + 128"
    if flags & SUM:
        signs = -1 if flags & MINUS_DELTA else 1, -1 if flags & MINUS_A else 1
        shifted = step.shifted
        return total(op, "delta", "a[n]", shifted, signs=signs, raised=128, first="of_delta")
    x = f"{plus('s', step.argument.a_offset)} * {plus('a[n]', step.argument.b_offset)}"
    raised = step.argument._replace(
        output_offset=step.argument.output_offset + 128,
        low=step.argument.low + 128,
        high=step.argument.high + 128,
    )
    return "", product(op, x, raised, data.scan.delta)


def _loop_int16(op: Op, data: Prepared, step: Step) -> tuple[list[str], list[str]]:
    x = f"{plus('drive', step.input.a_offset)} * {plus('b[n]', step.input.b_offset)}"
    lines = [f"int32_t h = {_wide(op, x, step.input, 32768, 128)};"]
    if not step.fresh:
        table = op.constant("decay", np.array(step.decay, np.int16))
        lines += _decay_int16(op, data, step, table)
        lines.append("h += (old[n] * decay + 16384) >> 15;")
        lines.append(f"h = {clamped(op, 'h', -32768, 32767)};")
    weight = plus("c[n]", step.output.b_offset)
    return [], [*lines, "state[n] = (int16_t)h;", f"sum += h * {weight};"]


def _decay_int16(op: Op, data: Prepared, step: Step, table: str) -> list[str]:
    flags = data.scan.flags
    if flags & COLUMNS:
        return [f"const int32_t decay = {table}[256 * n + delta + 128];"]
    if flags & SUM:
        value = _sum_wide(op, data, step)
    else:
        x = f"{plus('s', step.argument.a_offset)} * {plus('a[n]', step.argument.b_offset)}"
        value = _wide(op, x, step.argument, 32768, 128)
    return [f"const int32_t decay = interpolated({value}, {table});"]


def _sum_wide(op: Op, data: Prepared, step: Step) -> str:
    flags = data.scan.flags
    signs = -1 if flags & MINUS_DELTA else 1, -1 if flags & MINUS_A else 1
    value = long_sum(op, "delta", "a[n]", step.shifted, signs)
    return clamped(op, value, step.shifted.low, step.shifted.high)


def _after(op: Op, data: Prepared, step: Step) -> list[str]:
    """What follows the sum over n: D, the gate."""
    scan, flags = data.scan, data.scan.flags
    wide = scan.state_bits == 16
    largest = 32768 if wide else 128
    bound = scan.size * (largest + abs(step.output.a_offset)) * (128 + abs(step.output.b_offset))
    lines = [f"int32_t y = {_rescaled(op, 'sum', step.output, bound)};"]
    if wide:
        return lines + _after_int16(op, data, step)
    if flags & SKIP:
        x = f"{plus('x', step.skip.a_offset)} * {plus('skip', step.skip.b_offset)}"
        lines.append(f"const int32_t skipped = {product(op, x, step.skip, range(-128, 128))};")
    if flags & (SKIP | UNIT):
        other = "skipped" if flags & SKIP else "x"
        lines.append(f"y = {total(op, 'y', other, step.total)[1]};")
    if scan.gate:
        table = op.constant("gate", np.array(scan.gate, np.int8))
        x = f"{plus('y', step.gate.a_offset)} * {plus(f'{table}[z + 128]', step.gate.b_offset)}"
        lines.append(f"y = {product(op, x, step.gate, range(-128, 128))};")
    return [*lines, "return y;"]


def _after_int16(op: Op, data: Prepared, step: Step) -> list[str]:
    scan, flags = data.scan, data.scan.flags
    lines = []
    if flags & (SKIP | UNIT):
        weight = plus("skip", step.skip.b_offset) if flags & SKIP else str(1 + step.skip.b_offset)
        x = f"{plus('x', step.skip.a_offset)} * {weight}"
        value = clamped(op, f"y + {_wide(op, x, step.skip, 128, 128)}", -32768, 32767)
        lines.append(f"y = {value};")
    gate = "1"
    if scan.gate:
        gate = f"{op.constant('gate', np.array(scan.gate, np.int16))}[z + 128]"
    x = f"{plus('y', step.gate.a_offset)} * {plus(gate, step.gate.b_offset)}"
    return [*lines, f"return {_wide(op, x, step.gate, 32768, 32768)};"]


def _wide(op: Op, x: str, record: Product, a: int, b: int) -> str:
    """A product of values up to a and b in magnitude, requantized and clamped."""
    bound = (a + abs(record.a_offset)) * (b + abs(record.b_offset))
    return _rescaled(op, x, record, bound)


def _rescaled(op: Op, x: str, record: Product, bound: int) -> str:
    value = scaled(op, x, record.multiplier, record.shift, bound=bound, offset=record.output_offset)
    return clamped(op, value, record.low, record.high)
