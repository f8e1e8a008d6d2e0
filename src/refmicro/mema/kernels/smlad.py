"""Kernels for Cortex-M4 and M7: `smlad` on packed words, whole functions in assembly.

The text is a naked function, so that every load and store is known, those of the stack included:
`Kernel.counts` is what a processor executes. Tiles of 4 channels and 4 rows (`smlad_tile`) walk
over a row's depth in steps (`smlad_walk`), results leave by `smlad_scale`. Loops, from outside:
images, output rows of a convolution, tiles of rows, tiles of channels, runs, steps.

`mema_weights.filter` holds one stream of words in the order in which it is read: for each tile of
channels their biases, then for each step one word of each channel, then for each channel its
multiplier and shift. One pointer walks over it and goes back after each tile of rows.

A convolution with padding copies the input rows of one output row to the stack, between columns
that hold the zero point; one without reads the input as it lies. Nothing is unrolled into columns:
a row of the product is runs of neighbouring values, one a filter row.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from refmicro.errors import UsageError
from refmicro.mema.cost import Accesses, Order, Tile, Traffic
from refmicro.mema.kernel import (
    Kernel,
    PackedArrays,
    Requantization,
    has_bias,
    pack_channels,
    prototype,
)
from refmicro.mema.kernels import plain_c
from refmicro.mema.kernels.listing import Counts, Listing, Part
from refmicro.mema.kernels.smlad_frame import copy_rows, frame_formula, start_frame, start_image
from refmicro.mema.kernels.smlad_registers import Registers
from refmicro.mema.kernels.smlad_scale import Scale, as_words
from refmicro.mema.kernels.smlad_tile import Tile as TileWriter
from refmicro.mema.kernels.smlad_tile import rows_move, rows_start, used_halves
from refmicro.mema.kernels.smlad_walk import Step, Walk, pointer_bias, walk
from refmicro.mema.kernels.text import comment
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.schedule import derive
from refmicro.mema.target import Target

FRAME_BYTES_MAX = 8192
"""A larger copy of padded rows does not belong on a microcontroller's stack."""


def generate(
    problem: Matmul | Convolution,
    target: Target,
    requantization: Requantization,
    name: str,
) -> Kernel:
    """See `refmicro.mema.kernel.generate`.

    Sums beyond int32, shifts to the left under the int64 rule, filters of several rows with dilated
    columns, and very wide padded rows go to the plain kernel.
    """
    found = find_walk(problem, requantization)
    if found is None:
        return plain_c.generate(problem, target, requantization, name)
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    scale = Scale(requantization, matmul.input_bits, has_bias(matmul, requantization))
    listing = _Writer(found, scale).write()
    counts = listing.total()
    schedule = derive(problem, target)
    accesses = _accesses(counts, found)
    tile = Tile(min(found.channels, found.tile_channels), found.widest, len(found.steps))
    return Kernel(
        name,
        prototype(name, matmul.input_bits),
        _text(name, problem, target, found, listing),
        partial(pack, matmul, found, scale),
        accesses,
        replace(schedule, order=Order.OUTPUT, tile=tile, accesses=accesses),
        counts,
    )


def find_walk(problem: Matmul | Convolution, requantization: Requantization) -> Walk | None:
    """How a problem is walked; None where the plain kernel takes it."""
    r = requantization
    left = r.left_shifts if r.constant is None else r.constant[1] > 0
    if r.wide_sums or (r.wide and left):
        return None
    found = walk(problem)
    if found and found.frame and found.frame.rows * found.frame.row_bytes > FRAME_BYTES_MAX:
        return None
    return found


def pack(
    problem: Matmul,
    found: Walk,
    scale: Scale,
    filter_values: np.ndarray,
    bias: np.ndarray | None,
    multipliers: object,
    shifts: object,
) -> PackedArrays:
    """The kernel's stream of words; see `kernel.Kernel.pack`."""
    channels, r = found.channels, scale.requantization
    weights = np.array(filter_values, np.int8).reshape(channels, found.runs, found.run)
    plain = pack_channels(problem, r, weights, bias, multipliers, shifts)
    biases = plain.get("bias", np.zeros(channels, np.int32)).copy()
    multiplier = np.broadcast_to(np.asarray(multipliers, np.int64).reshape(-1), (channels,))
    shift = np.broadcast_to(np.asarray(shifts, np.int64).reshape(-1), (channels,))
    zero = multiplier == 0
    if r.wide and r.constant is None and shift[~zero].max(initial=-1) >= 0:
        raise UsageError("the int64 rule's shifts must be below 0 here", hint="set left_shifts")
    weights[zero], biases[zero] = 0, 0
    words = _filter_words(weights, found)
    stream, first = [], 0
    for m in found.channel_tiles:
        tile = slice(first, first + m)
        if scale.bias:
            stream.append(biases[tile].astype("<i4").view(np.int8))
        stream.append(words[tile].transpose(1, 0, 2).reshape(-1))
        if scale.channel_words:
            constants = [
                word
                for m, s in zip(multiplier[tile].tolist(), shift[tile].tolist(), strict=True)
                for word in scale.channel_constants(m, s)
            ]
            stream.append(as_words(constants).view(np.int8))
        first += m
    return {"filter": np.concatenate(stream).astype(np.int8)}


def _filter_words(weights: np.ndarray, found: Walk) -> np.ndarray:
    """(channels, steps of all runs, 4) bytes as the steps unpack them."""
    order = (0, 1, 2, 3) if found.value_bytes == 1 else (0, 2, 1, 3)
    index = np.array(
        [
            [found.run if step.values[i] is None else step.values[i] for i in order]
            for step in found.steps
        ]
    )
    padded = np.concatenate([weights, np.zeros((*weights.shape[:2], 1), np.int8)], axis=2)
    return padded[:, :, index].reshape(found.channels, -1, 4)


def stream_bytes(found: Walk, scale: Scale) -> int:
    """Length of the stream of words."""
    words = scale.bias + found.runs * len(found.steps) + scale.channel_words
    return 4 * found.channels * words


def _registers(found: Walk, listing: Listing) -> Registers:
    """The second level: pointers, a counter for each loop that runs more than once."""
    loops = {
        "k": found.turns,
        "run": found.runs,
        "m": found.channels // found.tile_channels,
        "n": found.rows // 4,
        "pass": found.passes,
        "images": found.images,
    }
    names = [*(f"x{row}" for row in range(found.widest)), "x", "w", "out"]
    names += [name for name, times in loops.items() if times > 1]
    names += ["top", "image"] if found.frame else []
    return Registers(listing, names, tile=found.rows > 1, halves=found.rows > 2)


class _Writer:
    """Writes the whole function."""

    def __init__(self, found: Walk, scale: Scale) -> None:
        self.walk = found
        self.scale = scale
        self.listing = Listing()
        self.registers = _registers(found, self.listing)

    def write(self) -> Listing:
        """Prologue, loops, epilogue."""
        found, r, op = self.walk, self.registers, self.listing.op
        self.listing.title("entry")
        op("push {r4-r11, lr}", stack_stores=9)
        if r.saved:
            op(f"vpush {{{_saved(r)}}}", stack_stores=r.saved)
        op("ldr r1, [r1]", "w->filter", argument_loads=1)
        if found.frame:
            start_frame(r, found, self.scale.requantization.input_zero_point)
        else:
            r.add("r0", "r0", -pointer_bias(found))
            r.put("x", "r0")
        r.put("w", "r1")
        r.put("out", "r2")
        with r.loop(found.images, "images", "7"):
            if found.frame:
                start_image(r, found.frame)
            with r.loop(found.passes, "pass", "6"):
                self._pass()
            self._next_image()
        self.listing.title("exit")
        if found.frame:
            r.add("sp", "sp", found.frame.rows * found.frame.row_bytes)
        if r.saved:
            op(f"vpop {{{_saved(r)}}}", stack_loads=r.saved)
        op("pop {r4-r11, pc}", stack_loads=9)
        return self.listing

    def _pass(self) -> None:
        """All rows of one pass: by four, then the rest."""
        found, r = self.walk, self.registers
        if found.frame:
            copy_rows(r, found, self.scale.requantization.input_zero_point)
        tiles, rest = divmod(found.rows, 4)
        if tiles:
            with r.loop(tiles, "n", "5"):
                self._rows(4)
        if rest:
            self._rows(rest)
        self.listing.title("next pass")
        last = found.passes * found.images == 1
        if not found.frame and not last:
            r.step("x", found.pass_bytes - found.rows * found.row_bytes)

    def _rows(self, n: int) -> None:
        """All channels of n rows."""
        found, r, listing = self.walk, self.registers, self.listing
        listing.title(f"{n} rows")
        if not rows_move(found):
            rows_start(r, found, n)
        if n == 1:
            r.get("lr", "w")
        whole, rest = divmod(found.channels, found.tile_channels)
        if whole:
            with r.loop(whole, "m", "4"):
                TileWriter(r, found, self.scale, found.tile_channels, n).write()
        if rest:
            TileWriter(r, found, self.scale, rest, n).write()
        if found.rows == n and found.passes * found.images == 1:
            return
        listing.title("next rows")
        if n > 1:
            r.step("w", -stream_bytes(found, self.scale))
        r.step("x", n * found.row_bytes)
        r.step("out", (n - 1) * found.channels * found.value_bytes)

    def _next_image(self) -> None:
        found, r = self.walk, self.registers
        if found.images == 1:
            return
        self.listing.title("next image")
        if found.frame:
            r.step("image", found.image_bytes)
        else:
            r.step("x", found.image_bytes - found.passes * found.pass_bytes)


def _saved(registers: Registers) -> str:
    """The registers that a caller expects unchanged, as a list in assembly."""
    return "s16" if registers.saved == 1 else f"s16-s{15 + registers.saved}"


def _accesses(counts: Counts, found: Walk) -> Accesses:
    """The operands' share of the counts in the words of the cost model."""
    size = found.value_bytes
    stores = counts.output_stores
    return Accesses(
        input_loads=Traffic(counts.input_loads, counts.input_bytes),
        filter_loads=Traffic(counts.filter_loads, 4 * counts.filter_loads),
        bias_loads=Traffic(counts.bias_loads, 4 * counts.bias_loads),
        multiplier_loads=Traffic(counts.scale_loads, 4 * counts.scale_loads),
        output_stores=Traffic(
            stores, found.images * found.passes * found.rows * found.channels * size
        ),
    )


def formula(found: Walk, scale: Scale) -> Counts:
    """All accesses of one call in closed form; `Listing.total` counts the same from the text.

    With M channels in tiles of m (4, or 8 where there is one row), N rows of a pass in tiles of 4,
    p passes, X and F loads of one row's and one channel's depth, and S stores a row:

        input ceil(M/m) p N X, filter p ceil(N/4) M F, biases p ceil(N/4) M,
        multipliers and shifts 2 p ceil(N/4) M, output p N S, stack 18 + twice the saved s16 to s31.
    """
    passes = found.passes * found.images
    channel_tiles, row_tiles = len(found.channel_tiles), -(-found.rows // 4)
    depth = [_step_loads(step, found.value_bytes) for step in found.steps]
    inputs = channel_tiles * passes * found.rows * found.runs
    input_loads = inputs * sum(count for count, _ in depth)
    again = passes * row_tiles * found.channels
    saved = _registers(found, Listing()).saved
    counts = Counts(
        filter_loads=again * found.runs * len(found.steps),
        bias_loads=again * scale.bias,
        scale_loads=again * scale.channel_words,
        argument_loads=1,
        stack_loads=9 + saved,
        stack_stores=9 + saved,
        output_stores=passes * found.rows * _row_stores(found),
    )
    if not found.frame:
        size = inputs * sum(size for _, size in depth)
        return counts + Counts(input_loads=input_loads, input_bytes=size)
    return counts + frame_formula(found) + Counts(frame_loads=input_loads)


def _step_loads(step: Step, value_bytes: int) -> tuple[int, int]:
    """Loads of one step of one row, and their bytes."""
    if value_bytes == 1:
        return (2, 3) if step.loaded == 3 else (1, step.loaded)
    if step.loaded < 4:
        return -(-step.loaded // 2), 2 * step.loaded
    words = sum(used_halves(step, value_bytes))
    return words, 4 * words


def _row_stores(found: Walk) -> int:
    """Stores of one row: whole words, and what is left of the last tile as a half and a byte."""
    group = 4 // found.value_bytes
    words, rest = divmod(found.channels, group)
    return words + (2 if rest == 3 else min(rest, 1))


def _text(
    name: str, problem: Matmul | Convolution, target: Target, found: Walk, listing: Listing
) -> str:
    """The C text: what it is, what it executes, the instructions."""
    lines = comment(_head(name, problem, target, found, listing))
    value, unused = f"int{8 * found.value_bytes}_t", "__attribute__((unused))"
    lines += [
        "#if !defined(__ARM_FP) || !defined(__ARM_FEATURE_DSP)",
        '#error "made for a core with FPU: -mfloat-abi=hard -mfpu=..., or emit for cortex-m3"',
        "#endif",
        f"{prototype(name, 8 * found.value_bytes)};",
        "",
        f"__attribute__((naked, used)) void {name}(",
        f"    const {value} *input {unused},",
        f"    const struct mema_weights *w {unused},",
        f"    {value} *output {unused})",
        "{",
    ]
    for part in listing.parts:
        if not part.lines:
            continue
        lines.append(f"    /* {part.title}: {_what(part)} */")
        lines.append("    __asm__ volatile(")
        for text, note in part.lines:
            indent = "        " if text.endswith(":") else "            "
            line = f'{indent}"{text}\\n"'
            lines.append(f"{line:<58} /* {note} */" if note else line)
        lines.append("    );")
    return "\n".join([*lines, "}"]) + "\n"


def _what(part: Part) -> str:
    """How often a part runs, and what one time executes."""
    counts = part.counts
    times = "once" if part.runs == 1 else f"{part.runs} times"
    return (
        f"{times}, {counts.instructions} instructions, {counts.loads} loads, {counts.stores} stores"
    )


def _head(
    name: str, problem: Matmul | Convolution, target: Target, found: Walk, listing: Listing
) -> str:
    total = listing.total()
    p = problem.matmul if isinstance(problem, Convolution) else problem
    passes = found.passes * found.images
    tiles = (len(found.channel_tiles), passes * -(-found.rows // 4))
    depth = found.runs * sum(_step_loads(step, found.value_bytes)[0] for step in found.steps)
    filters = found.runs * len(found.steps)
    source = f"stack rows {total.frame_loads}" if found.frame else f"input {total.input_loads}"
    lines = [
        f"{name}: {p.output_depth} channels, depth {p.accum_depth}, {p.rows} rows, "
        f"int{p.input_bits}, for {target.name}.",
        f"One call executes {total.instructions} instructions, {total.loads} loads and "
        f"{total.stores} stores. With M channels in A = {tiles[0]} tiles, N rows in B = {tiles[1]} "
        f"tiles, X = {depth} loads of a row's depth and F = {filters} of a channel's: "
        f"{source} = A N X, filter {total.filter_loads} = B M F, biases {total.bias_loads}, "
        f"multipliers and shifts {total.scale_loads}, output {total.output_stores}, "
        f"saved registers {total.stack_loads} and {total.stack_stores}, w {total.argument_loads}.",
    ]
    if found.frame:
        lines.append(
            f"Padded rows: {total.input_loads} loads of the input, {total.frame_stores} stores to "
            f"{found.frame.rows * found.frame.row_bytes} bytes of the stack."
        )
    return "\n".join([*lines, _register_map(found)])


def _register_map(found: Walk) -> str:
    """What lies in which register."""
    named = _registers(found, Listing()).number.items()
    floats = ", ".join(f"s{number} {name}" for name, number in named)
    if found.rows == 1:
        return f"r0-r7 sums; r8, r9 a step of the row; r10, r11 filter words; lr w; {floats}."
    idle = "s8-s15 sums of the idle rows; " if found.rows > 2 else ""
    return f"r0-r7 sums; s0-s7 filter words of two steps; {idle}{floats}; x0 is row 0's pointer."
