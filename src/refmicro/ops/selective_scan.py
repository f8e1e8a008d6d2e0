"""SELECTIVE_SCAN: one step, or T steps, of a selective state-space model; an operator of ours.

For each step t and channel d, with s(t, d) = delta_table[delta[t, d]]:

    decay[n] = decay_table[s * A[d, n]]
    h[d, n]  = decay[n] * h[d, n] + (s * u[t, d]) * B[t, n]
    y[t, d]  = (sum_n h[d, n] * C[t, n] + D[d] * u[t, d]) * gate_table[z[t, d]]

D may be 1 (`UNIT`), u may be what others call s * u (`DRIVEN`). The decay may be a function of a
sum, decay_table[delta[t, d] + A[d, n]], where delta or A may be subtracted (`SUM`, `MINUS_DELTA`,
`MINUS_A`), or of delta for each n, decay_table[n, delta[t, d]], as powers of a sigmoid are
(`COLUMNS`). Every product and sum is requantized as the stock operator does that it stands for, so
that the operator with an int8 state is bit-identical to a chain of MUL, ADD, FULLY_CONNECTED and
int8 functions. With an int16 state all that lies between the int8 inputs and the int8 output has 16
bits, which no stock operators do.

Inputs: u, delta (T * D elements), A (D * N, or N for all channels), B, C (T * N), D (D elements or
absent), z (T * D or absent), state (D * N or absent). The state is read; a variable tensor is
updated in place. Outputs: y (T * D) and, where the state is no variable, the new state. An absent
state begins with the value that the options name. With `SERIAL` all but the parameters have one
step, and a ninth input, one int32, is the number of the step; beyond T - 1 it counts as that.
Shapes: only numbers of elements count; T, D and N come from the options.
Quantization: int8; the state int8 or int16; an int16 state has zero point 0 in TFLM.
Options: little-endian, see `encode_options`; the model's scales are not read. Parameters and tables
stay where the model is: nothing of them is copied to the arena.
Scratch: N values of the state where it is absent, else none.
Persistent: the number of the scratch buffer, 4 bytes, where the state is absent; else nothing.
Order: channels one after another, in each the steps; element i of y is written after element i of
u, delta and z was read for the last time, and so is the new state. y may lie over one of these.
Differs: TFLM has no such operator; the source is its registration for TFLM, and this file says what
it must compute.
Source: `transform/selective_scan.cc`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._spec import EvalContext, Node, OpSpec, PrepareContext, Refused
from refmicro.types import DType, Tensor

MAGIC = 0x31435353
"""The first four bytes of the options, `SSC1`."""

SKIP, GATE, DRIVEN, UNIT, SERIAL, COLUMNS = 1, 2, 4, 8, 16, 32
SUM, MINUS_DELTA, MINUS_A = 64, 128, 256
"""Flags: there is a D; there is a z; u takes the place of s * u; u is added without a factor; one
invocation is one step, and input 8 says which of the T it is; the decay is a table of delta for
each n, and there is no A; the decay is a function of delta + A, of A - delta, of delta - A."""

FRESH = 1
"""Flag of a step: what was in the state does not count, h = (s * u) * B."""

SUM_SHIFT = 20
"""Bits by which ADD shifts int8 inputs to the left.

Source: `CalculateOpDataAdd` in `tensorflow/lite/micro/kernels/add_common.cc`.
"""

DECAY_ENTRIES = {8: 256, 16: 513}
"""Entries of a decay table; with 16 bits it is interpolated between every 128th value."""

MAX_SIZE = 1 << 16
"""T, D and N are below this."""

_INT_BYTES = 4
_HEADER_WORDS = 8
_PRODUCT_WORDS = 7
_SUM_WORDS = 11


class Product(NamedTuple):
    """(a + a_offset) * (b + b_offset), requantized and clamped: MUL, or how a dot product ends."""

    a_offset: int = 0
    b_offset: int = 0
    multiplier: int = 0
    shift: int = 0
    output_offset: int = 0
    low: int = 0
    high: int = 0


class Sum(NamedTuple):
    """ADD of two int8 values, each shifted left by `SUM_SHIFT` and rescaled first."""

    a_offset: int = 0
    b_offset: int = 0
    a_multiplier: int = 0
    a_shift: int = 0
    b_multiplier: int = 0
    b_shift: int = 0
    multiplier: int = 0
    shift: int = 0
    output_offset: int = 0
    low: int = 0
    high: int = 0


_NO_PRODUCT, _NO_SUM = Product(), Sum()


@dataclass(frozen=True)
class Step:
    """The arithmetic of one step.

    Attributes:
        argument: s * A; unused with `COLUMNS` and with `SUM`.
        decay: the function of it, 256 int8 results or 513 int16 ones in units of 2^-15; with
            `COLUMNS` 256 results for each n.
        keep: decay * h; of an int16 state unused, decay * h is then rounded to the state's unit.
        drive: s * u; unused with `DRIVEN`.
        input: drive * B.
        update: the sum of both; of an int16 state unused, both then have the state's unit.
        output: sum of h * C.
        skip: u * D; with `UNIT` u * 1 for an int16 state, else unused.
        total: output + skip; of an int16 state unused, both then have one unit.
        gate: total * gate; with an int16 state also where there is no z, with 1 for the gate.
        fresh: whether the step forgets the state.
        shifted: with `SUM` delta + A, in the place of `argument`.
    """

    argument: Product
    decay: tuple[int, ...]
    keep: Product
    drive: Product
    input: Product
    update: Sum
    output: Product
    skip: Product = _NO_PRODUCT
    total: Sum = _NO_SUM
    gate: Product = _NO_PRODUCT
    fresh: bool = False
    shifted: Sum = _NO_SUM


@dataclass(frozen=True)
class Scan:
    """What the options say.

    Attributes:
        state_bits: 8 or 16.
        steps, channels, size: T, D and N.
        start: first value of an absent state.
        delta: 256 values of the function of delta, int8 or int16.
        gate: the same of z; empty where there is none.
        flags: all but `GATE`, which follows from the table.
        sets: one `Step` for all steps, or one for each.
    """

    state_bits: int
    steps: int
    channels: int
    size: int
    start: int
    delta: tuple[int, ...]
    gate: tuple[int, ...]
    flags: int
    sets: tuple[Step, ...]

    @property
    def steps_at_once(self) -> int:
        """Steps of one invocation."""
        return 1 if self.flags & SERIAL else self.steps

    @property
    def all_flags(self) -> int:
        """The flags as the options hold them."""
        return self.flags | (GATE if self.gate else 0)


def encode_options(scan: Scan) -> bytes:
    """The custom options.

    Eight int32 words: `MAGIC`, state bits, T, D, N, number of sets, start, flags. Then the delta
    table and, with `GATE`, the gate table, 256 values of 1 or 2 bytes. Then each set: a word of
    flags; the records argument, keep, drive, input (7 words each), update (11), output, skip (7),
    total (11), gate (7), each an int32 word for each field; the decay table, filled up with zeros
    to whole words; with `SUM` the record shifted (11).
    """
    width = scan.state_bits // 8
    kind = {1: "b", 2: "h"}[width]
    parts = [
        struct.pack(
            f"<{_HEADER_WORDS}i",
            MAGIC,
            scan.state_bits,
            scan.steps,
            scan.channels,
            scan.size,
            len(scan.sets),
            scan.start,
            scan.all_flags,
        ),
        struct.pack(f"<{len(scan.delta)}{kind}", *scan.delta),
        struct.pack(f"<{len(scan.gate)}{kind}", *scan.gate),
    ]
    for step in scan.sets:
        words = [FRESH if step.fresh else 0]
        for record in _records(step):
            words += record
        parts.append(struct.pack(f"<{len(words)}i", *words))
        table = struct.pack(f"<{len(step.decay)}{kind}", *step.decay)
        parts.append(table.ljust(-(-len(table) // 4) * 4, b"\0"))
        if scan.flags & SUM:
            parts.append(struct.pack(f"<{_SUM_WORDS}i", *step.shifted))
    return b"".join(parts)


def _records(step: Step) -> tuple[Product | Sum, ...]:
    return (
        step.argument,
        step.keep,
        step.drive,
        step.input,
        step.update,
        step.output,
        step.skip,
        step.total,
        step.gate,
    )


_RECORD_WORDS = 7 * _PRODUCT_WORDS + 2 * _SUM_WORDS


def decay_entries(state_bits: int, flags: int, size: int) -> int:
    """Entries of the decay table of one set."""
    return 256 * size if flags & COLUMNS else DECAY_ENTRIES[state_bits]


def set_bytes(state_bits: int, flags: int = 0, size: int = 0) -> int:
    """Bytes of one set in the options."""
    table = decay_entries(state_bits, flags, size) * (state_bits // 8)
    words = 1 + _RECORD_WORDS + (_SUM_WORDS if flags & SUM else 0)
    return 4 * words + -(-table // 4) * 4


def decode_options(data: bytes) -> Scan:
    """The opposite of `encode_options`.

    Raises:
        Refused: where the bytes are no such options.
    """
    data = bytes(data)
    if len(data) < 4 * _HEADER_WORDS:
        raise Refused("options must begin with 8 words", f"{len(data)} bytes", malformed=True)
    magic, bits, steps, channels, size, sets, start, flags = struct.unpack_from("<8i", data)
    if magic != MAGIC:
        raise Refused("options must begin with SSC1", f"{magic:#x}", malformed=True)
    if bits not in DECAY_ENTRIES:
        raise Refused("a state must have 8 or 16 bits", str(bits), malformed=True)
    if not all(0 < value < MAX_SIZE for value in (steps, channels, size)):
        found = f"{steps}, {channels}, {size}"
        raise Refused(f"T, D and N must be between 1 and {MAX_SIZE - 1}", found, malformed=True)
    if sets not in (1, steps):
        raise Refused("there must be one set of parameters, or T", str(sets), malformed=True)
    if not _sensible(flags):
        raise Refused("flags must be known and make sense", f"{flags:#x}", malformed=True)
    tables = 2 if flags & GATE else 1
    width, place = bits // 8, 4 * _HEADER_WORDS
    one = set_bytes(bits, flags, size)
    want = place + tables * 256 * width + sets * one
    if len(data) != want:
        raise Refused(f"these options must have {want} bytes", str(len(data)), malformed=True)
    kind = {1: "b", 2: "h"}[width]
    values = [struct.unpack_from(f"<256{kind}", data, place + i * 256 * width) for i in (0, 1)]
    place += tables * 256 * width
    return Scan(
        bits,
        steps,
        channels,
        size,
        start,
        values[0],
        values[1] if flags & GATE else (),
        flags & ~GATE,
        tuple(
            _decode_set(data, place + i * one, bits, flags, decay_entries(bits, flags, size))
            for i in range(sets)
        ),
    )


def _sensible(flags: int) -> bool:
    """Whether flags are known and go together."""
    known = SKIP | GATE | DRIVEN | UNIT | SERIAL | COLUMNS | SUM | MINUS_DELTA | MINUS_A
    signs = flags & (MINUS_DELTA | MINUS_A)
    return not (
        flags & ~known
        or (flags & SKIP and flags & UNIT)
        or (flags & SUM and flags & COLUMNS)
        or (signs and not flags & SUM)
        or signs == MINUS_DELTA | MINUS_A
    )


def _decode_set(data: bytes, place: int, bits: int, flags: int, entries: int) -> Step:
    words = struct.unpack_from(f"<{1 + _RECORD_WORDS}i", data, place)
    at = 1
    records: list[Product | Sum] = []
    for kind in (Product, Product, Product, Product, Sum, Product, Product, Sum, Product):
        count = len(kind._fields)
        records.append(kind(*words[at : at + count]))
        at += count
    argument, keep, drive, given, update, output, skip, total, gate = records
    table = f"<{entries}{'b' if bits == 8 else 'h'}"
    decay = struct.unpack_from(table, data, place + 4 * len(words))
    shifted = _NO_SUM
    if flags & SUM:
        end = place + set_bytes(bits, flags) - 4 * _SUM_WORDS
        shifted = Sum(*struct.unpack_from(f"<{_SUM_WORDS}i", data, end))
    return Step(
        argument,
        decay,
        keep,
        drive,
        given,
        update,
        output,
        skip,
        total,
        gate,
        fresh=bool(words[0] & FRESH),
        shifted=shifted,
    )


@dataclass(frozen=True)
class Prepared:
    """What eval needs: the options, whether A is one row for all channels, shapes of y and of a new
    state, and the state's tensor."""

    scan: Scan
    shared_a: bool
    y: tuple[int, ...]
    new_state: tuple[int, ...] | None
    state: Tensor | None

    @cached_property
    def words(self) -> np.ndarray:
        """One row of int64 words a set, the flags first."""
        rows = [
            [
                int(step.fresh),
                *(word for record in (*_records(step), step.shifted) for word in record),
            ]
            for step in self.scan.sets
        ]
        return np.array(rows, np.int64)

    @cached_property
    def decay(self) -> np.ndarray:
        """One row a set."""
        return np.array([step.decay for step in self.scan.sets], np.int64)

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The delta and the gate table; 1 in the state's unit for the gate where there is none."""
        gate = self.scan.gate or (1,) * 256
        return np.array(self.scan.delta, np.int64), np.array(gate, np.int64)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Steps, channels, size, steps of a set, flags, stride of A."""
        scan = self.scan
        stride = 0 if self.shared_a else scan.size
        many = int(len(scan.sets) > 1)
        flags = scan.all_flags
        steps = scan.steps_at_once
        return np.array([steps, scan.channels, scan.size, many, flags, stride], np.int64)


def prepare(ctx: PrepareContext) -> Prepared:
    """Check the options and the numbers of elements."""
    node = ctx.node
    scan = decode_options(node.custom_options)
    count = 9 if scan.flags & SERIAL else 8
    ctx.require(len(node.inputs) == count, f"must have {count} inputs", len(node.inputs))
    ctx.require(len(node.outputs) in (1, 2), "must have 1 or 2 outputs", len(node.outputs))
    steps, channels, size = scan.steps_at_once, scan.channels, scan.size
    u, delta, a, b, c, skip, z, state = node.inputs[:8]
    _check_records(scan)
    if scan.flags & SERIAL:
        _check(ctx, "the number of the step", node.inputs[8], DType.INT32, 1)
    wanted = {
        "u": (u, steps * channels),
        "delta": (delta, steps * channels),
        "B": (b, steps * size),
        "C": (c, steps * size),
        "y": (node.outputs[0], steps * channels),
    }
    if scan.flags & SKIP:
        wanted["D"] = (skip, channels)
    if scan.gate:
        wanted["z"] = (z, steps * channels)
    for name, (tensor, count) in wanted.items():
        _check(ctx, name, tensor, DType.INT8, count)
    if scan.flags & COLUMNS:
        ctx.require(a is None, "A must be absent where each n has a table", "A")
    else:
        ctx.require(a is not None and a.dtype is DType.INT8, "A must be int8", a and a.dtype)
        fits = a.elements in (size, channels * size)
        ctx.require(fits, "A must have D * N or N values", a.elements)
    ctx.require(skip is None or bool(scan.flags & SKIP), "D must be absent without its flag", "D")
    ctx.require(z is None or bool(scan.gate), "z must be absent without its flag", "z")
    dtype = DType.INT8 if scan.state_bits == 8 else DType.INT16
    if state is not None:
        _check(ctx, "state", state, dtype, channels * size)
    if len(node.outputs) == 2:
        ctx.require(state is not None, "a new state needs an old one", "no state")
        ctx.require(not state.is_variable, "a variable state is its own new state", "2 outputs")
        _check(ctx, "new state", node.outputs[1], dtype, channels * size)
    elif state is not None:
        ctx.require(state.is_variable, "a state that is no variable needs a new state", "1 output")
    if state is None:
        ctx.persistent(_INT_BYTES)
        ctx.scratch(size * scan.state_bits // 8)
    shapes = [tensor.shape for tensor in node.outputs]
    new_state = shapes[1] if len(shapes) == 2 else None
    shared = a is not None and a.elements == size
    return Prepared(scan, shared, shapes[0], new_state, state)


def _check(ctx: PrepareContext, name: str, tensor: Tensor | None, dtype: DType, count: int) -> None:
    ctx.require(tensor is not None, f"{name} must be present", "absent")
    ctx.require_type(name, tensor, dtype)
    ctx.require(tensor.elements == count, f"{name} must have {count} values", tensor.elements)


_WIDE = {"argument": (16, 8), "drive": (16, 8), "input": (16, 8), "output": (16, 8)}
"""Bits of both factors of a product with an int16 state, 8 and 8 for those that are not here."""


def _check_records(scan: Scan) -> None:
    """Multipliers, shifts, offsets and limits with which all arithmetic stays inside int32."""
    low, high = (-128, 127) if scan.state_bits == 8 else (-32768, 32767)
    kinds = {"gate": (16, 16), **_WIDE} if scan.state_bits == 16 else {}
    for step in scan.sets:
        for name in ("argument", "keep", "drive", "input", "output", "skip", "gate"):
            record = getattr(step, name)
            a, b = (1 << bits - 1 for bits in kinds.get(name, (8, 8)))
            largest = (a + abs(record.a_offset)) * (b + abs(record.b_offset))
            largest *= scan.size if name == "output" else 1
            fine = _in_range(record.multiplier, record.shift, 30)
            fine = fine and largest << max(record.shift, 0) < (1 << 31) - (1 << 16)
            _require(fine and abs(record.output_offset) <= 1 << 15, name, record)
            _require(low <= record.low <= record.high <= high, name, record)
        for name in ("update", "total", "shifted"):
            record = getattr(step, name)
            fine = all(abs(offset) <= 512 for offset in (record.a_offset, record.b_offset))
            fine = fine and _in_range(record.a_multiplier, record.a_shift, 0)
            fine = fine and _in_range(record.b_multiplier, record.b_shift, 0)
            fine = fine and _in_range(record.multiplier, record.shift, 0)
            _require(fine and abs(record.output_offset) <= 1 << 15, name, record)
            _require(low <= record.low <= record.high <= high, name, record)
        fine = step.gate.low >= -128 and step.gate.high <= 127
        _require(fine, "gate", step.gate)


def _in_range(multiplier: int, shift: int, most: int) -> bool:
    return 0 <= multiplier < 1 << 31 and -31 <= shift <= most


def _require(fine: bool, name: str, record: Product | Sum) -> None:
    if not fine:
        found = f"{name} {tuple(record)}"
        raise Refused("a record must keep its results inside int32", found, malformed=True)


def evaluate(ctx: EvalContext, data: Prepared) -> None:
    """All rows of the batch, each with its own state."""
    scan = data.scan
    present = [ctx.optional_input(index) for index in range(9)]
    batch = max(array.shape[0] for array in present if array is not None)
    if data.state is None:
        dtype = np.int8 if scan.state_bits == 8 else np.int16
        state = np.full((batch, scan.channels * scan.size), scan.start, dtype)
    else:
        state = _rows(present[7], batch).copy()
    none = np.zeros((1, 1), np.int8)
    y = np.empty((batch, scan.steps_at_once * scan.channels), np.int8)
    first = np.zeros(batch, np.int64)
    if scan.flags & SERIAL:
        first[:] = ctx.input(8).reshape(-1).clip(0, scan.steps - 1)
    arrays = [none if array is None else _flat(array) for array in present[:7]]
    rows = np.array([int(array.shape[0] > 1) for array in arrays], np.int64)
    kernel = _scan_int8 if scan.state_bits == 8 else _scan_int16
    kernel(*arrays, rows, first, state, data.sizes, data.words, data.decay, *data.tables, y)
    ctx.set_output(0, y.reshape(batch, *data.y))
    if data.new_state is not None:
        ctx.set_output(1, state.reshape(batch, *data.new_state))
    elif data.state is not None and data.state.is_variable:
        ctx.set_input(7, state.reshape(batch, *data.state.shape))


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(array.shape[0], -1)


def _rows(array: np.ndarray, batch: int) -> np.ndarray:
    flat = _flat(array)
    return np.broadcast_to(flat, (batch, flat.shape[1]))


# Where each record begins in a row of words; the first word is the set's flags.
_ARGUMENT, _KEEP, _DRIVE, _INPUT = 1, 8, 15, 22
_UPDATE, _OUTPUT, _SKIP, _TOTAL, _GATE, _SHIFTED = 29, 40, 47, 54, 65, 72


@jit(inline=True)
def _rescaled(value, words, row, at):
    """The end of a `Product`."""
    value = multiply_by_quantized_multiplier(value, words[row, at + 2], words[row, at + 3])
    return clamp(value + words[row, at + 4], words[row, at + 5], words[row, at + 6])


@jit(inline=True)
def _product(a, b, words, row, at):
    return _rescaled((a + words[row, at]) * (b + words[row, at + 1]), words, row, at)


@jit(inline=True)
def _sum(a, b, words, row, at, a_sign=1, b_sign=1):
    left = multiply_by_quantized_multiplier(
        (a + words[row, at]) << 20, words[row, at + 2], words[row, at + 3]
    )
    right = multiply_by_quantized_multiplier(
        (b + words[row, at + 1]) << 20, words[row, at + 4], words[row, at + 5]
    )
    value = multiply_by_quantized_multiplier(
        a_sign * left + b_sign * right, words[row, at + 6], words[row, at + 7]
    )
    return clamp(value + words[row, at + 8], words[row, at + 9], words[row, at + 10])


@jit(inline=True)
def _shifted(delta, weight, words, row, flags):
    """The sum of delta and a value of A, either of which may be subtracted."""
    delta_sign = -1 if flags & MINUS_DELTA else 1
    a_sign = -1 if flags & MINUS_A else 1
    return _sum(delta, weight, words, row, _SHIFTED, delta_sign, a_sign)


@jit
def _scan_int8(
    u,
    delta,
    a,
    b,
    c,
    skip,
    z,
    many,
    first,
    state,
    sizes,
    words,
    decay,
    delta_table,
    gate_table,
    y,
):
    """Rows of a batch; `many` says which inputs have a row for each, `first` each row's step."""
    steps, channels, size = sizes[0], sizes[1], sizes[2]
    for row in range(y.shape[0]):
        for channel in range(channels):
            for step in range(steps):
                p = (first[row] + step) * sizes[3]
                at = step * channels + channel
                x = np.int64(u[row * many[0], at])
                index = np.int64(delta[row * many[1], at]) + 128
                s = delta_table[index]
                drive = x
                if not sizes[4] & DRIVEN:
                    drive = _product(s, x, words, p, _DRIVE)
                total = 0
                for n in range(size):
                    place = channel * size + n
                    h = _product(
                        drive, np.int64(b[row * many[3], step * size + n]), words, p, _INPUT
                    )
                    if words[p, 0] == 0:
                        entry = n * 256 + index
                        if not sizes[4] & COLUMNS:
                            weight = np.int64(a[row * many[2], channel * sizes[5] + n])
                            if sizes[4] & SUM:
                                entry = _shifted(index - 128, weight, words, p, sizes[4]) + 128
                            else:
                                entry = _product(s, weight, words, p, _ARGUMENT) + 128
                        old = np.int64(state[row, place])
                        kept = _product(decay[p, entry], old, words, p, _KEEP)
                        h = _sum(kept, h, words, p, _UPDATE)
                    state[row, place] = h
                    weight = np.int64(c[row * many[4], step * size + n])
                    total += (h + words[p, _OUTPUT]) * (weight + words[p, _OUTPUT + 1])
                out = _rescaled(total, words, p, _OUTPUT)
                if sizes[4] & SKIP:
                    weight = np.int64(skip[row * many[5], channel])
                    out = _sum(out, _product(x, weight, words, p, _SKIP), words, p, _TOTAL)
                if sizes[4] & UNIT:
                    out = _sum(out, x, words, p, _TOTAL)
                if sizes[4] & GATE:
                    gate = gate_table[np.int64(z[row * many[6], at]) + 128]
                    out = _product(out, gate, words, p, _GATE)
                y[row, at] = out


@jit
def _scan_int16(
    u,
    delta,
    a,
    b,
    c,
    skip,
    z,
    many,
    first,
    state,
    sizes,
    words,
    decay,
    delta_table,
    gate_table,
    y,
):
    """The same with 16 bits between inputs and output; decays are in units of 2^-15."""
    steps, channels, size = sizes[0], sizes[1], sizes[2]
    for row in range(y.shape[0]):
        for channel in range(channels):
            for step in range(steps):
                p = (first[row] + step) * sizes[3]
                at = step * channels + channel
                x = np.int64(u[row * many[0], at])
                index = np.int64(delta[row * many[1], at]) + 128
                s = delta_table[index]
                drive = x
                if not sizes[4] & DRIVEN:
                    drive = _product(s, x, words, p, _DRIVE)
                total = 0
                for n in range(size):
                    place = channel * size + n
                    h = _product(
                        drive, np.int64(b[row * many[3], step * size + n]), words, p, _INPUT
                    )
                    if words[p, 0] == 0:
                        if sizes[4] & COLUMNS:
                            kept = decay[p, n * 256 + index]
                        else:
                            weight = np.int64(a[row * many[2], channel * sizes[5] + n])
                            if sizes[4] & SUM:
                                argument = _shifted(index - 128, weight, words, p, sizes[4]) + 32768
                            else:
                                argument = _product(s, weight, words, p, _ARGUMENT) + 32768
                            low = decay[p, argument >> 7]
                            rise = decay[p, (argument >> 7) + 1] - low
                            kept = low + ((rise * (argument & 127) + 64) >> 7)
                        kept = (np.int64(state[row, place]) * kept + 16384) >> 15
                        h = clamp(kept + h, -32768, 32767)
                    state[row, place] = h
                    total += h * (np.int64(c[row * many[4], step * size + n]) + words[p, 41])
                out = _rescaled(total, words, p, _OUTPUT)
                if sizes[4] & (SKIP | UNIT):
                    weight = np.int64(1)
                    if sizes[4] & SKIP:
                        weight = np.int64(skip[row * many[5], channel])
                    out = clamp(out + _product(x, weight, words, p, _SKIP), -32768, 32767)
                gate = np.int64(1)
                if sizes[4] & GATE:
                    gate = gate_table[np.int64(z[row * many[6], at]) + 128]
                y[row, at] = _product(out, gate, words, p, _GATE)


def macs(node: Node) -> int:
    """Per state value and step: decay, input and output products, and the argument where it is
    one."""
    scan = decode_options(node.custom_options)
    products = 3 if scan.flags & (SUM | COLUMNS) else 4
    return products * scan.steps_at_once * scan.channels * scan.size


OP = OpSpec("SELECTIVE_SCAN", prepare, evaluate, macs=macs)
