"""One register tile of an SMLAD kernel: sums of m channels and n rows over the whole depth.

**n = 2, 3 or 4 rows, m <= 4 channels.** Two rows at a time are added to, in eight core registers;
with three or four rows the sums of the other half wait in floating-point registers and the halves
change places every second step (`_swap`: eight `vmov` move sixteen words). The filter words of two
steps come into s0 to s7 by one `vldm` and serve both halves, so that a step of four values of m
channels and n rows loads m + n words (int8) for 4 m n products.

**One row, m <= 8 channels.** Every filter word is used once; it comes into core registers by `ldm`,
two at a time.

A step of one half, two rows: 4 words of the filter are unpacked by `sxtb16` into halves of 16 bits
and each multiplies two rows by two `smlad`. int16 inputs need no unpacking, two words hold a step;
their filter bytes are packed in the order 0, 2, 1, 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.kernels.smlad_registers import FILTER_WORDS, SPARE, SUMS, Registers
from refmicro.mema.kernels.smlad_scale import Scale
from refmicro.mema.kernels.smlad_walk import LOOP_STEPS, Step, Walk, pointer_bias

LARGEST_OFFSET = 4095
"""Bytes that a store reaches from its pointer."""

BLOCK_STEPS = 2
"""Steps whose filter words are held at once."""


@dataclass(frozen=True)
class Half:
    """Rows that are added to together; sum c * len(rows) + r is of channel c and row rows[r].

    Attributes:
        rows: of the tile.
        sums: core registers of the sums while this half is at work.
        spare: core registers that are then free.
    """

    rows: tuple[int, ...]
    sums: tuple[str, ...]
    spare: tuple[str, ...]


class Tile:
    """Writes one tile; the state is which half is at work."""

    def __init__(self, registers: Registers, walk: Walk, scale: Scale, m: int, n: int) -> None:
        self.registers = registers
        self.listing = registers.listing
        self.walk = walk
        self.scale = scale
        self.m, self.n = m, n
        self.halves = _halves(m, n)
        self.at_work = 0

    def write(self) -> None:
        """Start, depth, results."""
        size = f"{self.m} channels, {self.n} rows" if self.n > 1 else f"{self.m} channels"
        self.listing.title(f"{size}: sums start")
        self._start()
        self.listing.title(f"{size}: depth")
        if rows_move(self.walk):
            rows_start(self.registers, self.walk, self.n)
        with self.registers.loop(self.walk.runs, "run", "3"):
            self._run()
        self.listing.title(f"{size}: results")
        self._results()

    def _start(self) -> None:
        """Every sum starts from its channel's bias."""
        first, r = self.halves[0], self.registers
        if not self.scale.bias:
            for sum_ in first.sums:
                self.listing.op(f"mov {sum_}, #0")
        elif self.n == 1:
            names = ", ".join(first.sums)
            self.listing.op(f"ldm lr!, {{{names}}}", "biases", bias_loads=self.m)
        else:
            self._load_constants(self.m, "biases", "bias_loads")
            for row in range(len(first.rows)):
                cores = [first.sums[c * len(first.rows) + row] for c in range(self.m)]
                r.move(cores, [r.filter_word(c) for c in range(self.m)], to_core=True, note="bias")
        if len(self.halves) > 1:
            second = self.halves[1]
            source = [
                first.sums[c * 2 + row] for c in range(self.m) for row in range(len(second.rows))
            ]
            r.move(source, [r.slot(i) for i in range(len(source))], to_core=False, note="idle half")

    def _load_constants(self, words: int, what: str, kind: str) -> None:
        """Words at the filter pointer into s0 and on."""
        spare = self.halves[self.at_work].spare[-1]
        self.registers.get(spare, "w")
        end = f"-s{words - 1}" if words > 1 else ""
        self.listing.op(f"vldm {spare}!, {{s0{end}}}", what, **{kind: words})
        self.registers.put("w", spare)

    def _run(self) -> None:
        """One run of neighbouring values: the loop, the steps after it, the way to the next run."""
        walk = self.walk
        size, bias = walk.step_bytes, pointer_bias(walk)
        if walk.turns:
            with self.registers.loop(walk.turns, "k", "2"):
                turn = [(step.offset_bytes + bias, step) for step in walk.steps[:LOOP_STEPS]]
                self._steps(turn, forward=LOOP_STEPS * size)
        gone = walk.turns * LOOP_STEPS * size
        self._steps([(step.offset_bytes - gone + bias, step) for step in walk.rest])
        if walk.runs > 1:
            if self.at_work:
                self._swap()
            for half in self.halves:
                names = [f"x{row}" for row in half.rows]
                cores = list(self.halves[0].spare[: len(names)])
                if self.n == 1:
                    cores = ["r12"]
                self.registers.get_all(cores, names)
                for core in cores:
                    self.registers.add(core, core, walk.run_bytes - gone, "next run")
                self.registers.put_all(names, cores)

    def _steps(self, steps: list[tuple[int, Step]], forward: int = 0) -> None:
        """Steps at offsets from the row pointers, which at last move on by `forward` bytes."""
        if self.n == 1:
            for i, (offset, step) in enumerate(steps):
                self._vector_step(offset, step, forward if i == len(steps) - 1 else 0)
            return
        for start in range(0, len(steps), BLOCK_STEPS):
            block = steps[start : start + BLOCK_STEPS]
            self._load_constants(len(block) * self.m, "filter", "filter_loads")
            last = start + len(block) == len(steps)
            for turn in range(len(self.halves)):
                if turn:
                    self._swap()
                for i, (offset, step) in enumerate(block):
                    moves = forward if last and i == len(block) - 1 else 0
                    self._half_step(offset, step, i, moves)

    def _half_step(self, offset: int, step: Step, slot: int, forward: int) -> None:
        """One step of the half at work."""
        half, r = self.halves[self.at_work], self.registers
        count = len(half.rows)
        names = [f"x{row}" for row in half.rows]
        x, pointers = half.spare[:4], list(half.spare[4 : 4 + count])
        r.get_all(pointers, names)
        for row, pointer in enumerate(pointers):
            load_row(self, x[2 * row : 2 * row + 2], pointer, offset, step, forward, names[row])
        if forward:
            r.put_all(names, pointers)
        for row in range(count):
            unpack_row(self, x[2 * row : 2 * row + 2], step)
        even, odd = half.spare[4:6]
        for c in range(self.m):
            self.listing.op(
                f"vmov {even}, {r.filter_word(slot * self.m + c)}", f"filter, channel {c}"
            )
            sums = half.sums[c * count : (c + 1) * count]
            places = [f"channel {c}, row {row}" for row in half.rows]
            self._multiply(step, even, (even, odd), sums, x, places)

    def _multiply(
        self,
        step: Step,
        word: str,
        pair: tuple[str, str],
        sums: tuple[str, ...],
        x: tuple[str, ...],
        places: list[str],
    ) -> None:
        """Unpack one filter word, and add its products with each row; `places` name the sums."""
        first, second = used_halves(step, self.walk.value_bytes)
        even, odd = pair
        if second:
            self.listing.op(f"sxtb16 {odd}, {word}, ror #8")
        if first:
            self.listing.op(f"sxtb16 {even}, {word}")
            for row, sum_ in enumerate(sums):
                self.listing.op(f"smlad {sum_}, {even}, {x[2 * row]}, {sum_}", places[row])
        if second:
            for row, sum_ in enumerate(sums):
                self.listing.op(f"smlad {sum_}, {odd}, {x[2 * row + 1]}, {sum_}", places[row])

    def _vector_step(self, offset: int, step: Step, forward: int) -> None:
        """One step of a single row."""
        half, x = self.halves[0], ("r8", "r9")
        self.registers.get("r12", "x0")
        load_row(self, x, "r12", offset, step, forward, "x0")
        if forward:
            self.registers.put("x0", "r12")
        unpack_row(self, x, step)
        for c in range(0, self.m, 2):
            words = ["r10", "r11"][: self.m - c]
            count = len(words)
            self.listing.op(f"ldm lr!, {{{', '.join(words)}}}", "filter", filter_loads=count)
            for i, word in enumerate(words):
                sums, places = half.sums[c + i : c + i + 1], [f"channel {c + i}"]
                self._multiply(step, word, (word, "r12"), sums, x, places)

    def _swap(self) -> None:
        """Exchange the sums at work with the idle ones, two at a time through registers that get
        free on the way; back again in the opposite order, so that every register is as before."""
        first, second = self.halves
        coming, going = (second, first) if self.at_work == 0 else (first, second)
        starts = range(0, len(first.sums), 2)
        r = self.registers
        for i in starts if self.at_work == 0 else reversed(starts):
            slots = [r.slot(i), r.slot(i + 1)]
            if coming.sums[i : i + 2]:
                r.move(list(coming.sums[i : i + 2]), slots, to_core=True, note="other half in")
            if going.sums[i : i + 2]:
                r.move(list(going.sums[i : i + 2]), slots, to_core=False, note="this half out")
        self.at_work = 1 - self.at_work

    def _results(self) -> None:
        """Requantize channel by channel, pack neighbouring channels into words, store."""
        free = [*self.halves[self.at_work].spare] if self.n > 1 else ["r12", "r8", "r9"]
        factor, shift = (free.pop(), free.pop()) if self.n > 1 else ("r10", "r11")
        constant = self.scale.requantization.constant
        if constant is not None:
            self.registers.constant(factor, self.scale.factor(constant[0]), "multiplier")
        words: dict[int, str] = {}
        group = 4 // self.walk.value_bytes
        for c in range(self.m):
            sums = self._channel_sums(c, free)
            self._channel_constants(c, list(sums.values()), factor, shift)
            self.scale.requantize(self.registers, list(sums.values()), factor, shift)
            place = c % group
            for row, y in sums.items():
                if place:
                    self._join(words[row], y, place)
                    free.append(y)
                else:
                    words[row] = y
            if place == group - 1 or c == self.m - 1:
                self._store(words, (c - place) * self.walk.value_bytes, place + 1, free)
                free += words.values()
                words = {}

    def _channel_sums(self, c: int, free: list[str]) -> dict[int, str]:
        """Core registers of one channel's sums, by row; the idle half's come back for it."""
        sums = {}
        for number, half in enumerate(self.halves):
            count = len(half.rows)
            indices = range(c * count, (c + 1) * count)
            if number == self.at_work:
                cores = [half.sums[i] for i in indices]
            else:
                cores = [free.pop(0) for _ in indices]
                slots = [self.registers.slot(i) for i in indices]
                self.registers.move(cores, slots, to_core=True, note=f"idle sums, channel {c}")
            sums |= dict(zip(half.rows, cores, strict=True))
        return sums

    def _channel_constants(self, c: int, sums: list[str], factor: str, shift: str) -> None:
        """Read multiplier and shift of channel c; a left shift is applied at once."""
        count, op, left = self.scale.channel_words, self.listing.op, self.scale.left
        if not count:
            return
        at_once = FILTER_WORDS // count
        if self.n == 1:
            if left:
                op(f"ldr {shift}, [lr], #4", "left shift", scale_loads=1)
        else:
            if c % at_once == 0:
                words = min(at_once, self.m - c) * count
                self.registers.get(factor, "w")
                op(f"vldm {factor}!, {{s0-s{words - 1}}}", "multipliers, shifts", scale_loads=words)
                self.registers.put("w", factor)
            first = c % at_once * count
            if left:
                op(f"vmov {shift}, s{first}", "left shift")
        if left:
            for y in sums:
                op(f"lsl {y}, {y}, {shift}")
        if self.n == 1:
            op(f"ldm lr!, {{{factor}, {shift}}}", "multiplier, shift", scale_loads=2)
        else:
            op(f"vmov {factor}, {shift}, s{first + left}, s{first + left + 1}", f"channel {c}")

    def _join(self, word: str, y: str, place: int) -> None:
        """Output `place` of a word."""
        if self.walk.value_bytes == 1:
            self.listing.op(f"bfi {word}, {y}, #{8 * place}, #8")
        else:
            self.listing.op(f"pkhbt {word}, {word}, {y}, lsl #16")

    def _store(self, words: dict[int, str], offset: int, count: int, free: list[str]) -> None:
        """Store each row's word of `count` outputs, and step on after the tile's last channel."""
        self.scale.clamp(self.registers, [words[row] for row in sorted(words)], free)
        pointer, op = free[0], self.listing.op
        size = self.walk.value_bytes
        row_bytes = self.walk.channels * size
        self.registers.get(pointer, "out")
        base = 0
        for row in sorted(words):
            place = row * row_bytes + offset
            if place - base > LARGEST_OFFSET - 4:
                self.registers.add(pointer, pointer, place - base)
                base = place
            where = place - base
            if count * size == 4:
                op(f"str {words[row]}, [{pointer}, #{where}]", f"row {row}", output_stores=1)
                continue
            if count * size > 1:
                op(f"strh {words[row]}, [{pointer}, #{where}]", f"row {row}", output_stores=1)
            if count * size == 3:
                op(f"lsr {words[row]}, {words[row]}, #16")
            if count * size != 2:
                where += count * size - 1
                op(f"strb {words[row]}, [{pointer}, #{where}]", f"row {row}", output_stores=1)
        if offset + count * size == self.m * size:
            self.registers.add(pointer, pointer, self.m * size - base, "next channels")
            self.registers.put("out", pointer)


def rows_move(walk: Walk) -> bool:
    """Whether the row pointers change inside a tile, and start anew for each."""
    return walk.runs > 1 or walk.turns > 0


def rows_start(registers: Registers, walk: Walk, n: int) -> None:
    """Row pointers of a tile, from the pointer to its first row."""
    if n == 1:
        registers.get("r12", "x")
        registers.put("x0", "r12")
        return
    names = [f"x{row}" for row in range(n)]
    registers.get("r8", "x")
    for start in range(0, n, 2):
        pair = names[start : start + 2]
        if start:
            registers.add("r8", "r9", walk.row_bytes)
        if len(pair) == 2:
            registers.add("r9", "r8", walk.row_bytes)
        registers.put_all(pair, ["r8", "r9"][: len(pair)])


def used_halves(step: Step, value_bytes: int) -> tuple[bool, bool]:
    """Which two products of a step are not 0 for all weights: of the first and second unpacked."""
    places = ((0, 2), (1, 3)) if value_bytes == 1 else ((0, 1), (2, 3))
    first, second = (any(step.values[i] is not None for i in pair) for pair in places)
    return first, second


def unpack_row(tile: Tile, x: tuple[str, ...], step: Step) -> None:
    """int8 values of a step as 16-bit halves: x[0] of even places, x[1] of odd ones."""
    if tile.walk.value_bytes == 2:
        return
    first, second = used_halves(step, 1)
    if second:
        tile.listing.op(f"sxtb16 {x[1]}, {x[0]}, ror #8")
    if first:
        tile.listing.op(f"sxtb16 {x[0]}, {x[0]}")


def load_row(
    tile: Tile,
    x: tuple[str, ...],
    pointer: str,
    offset: int,
    step: Step,
    forward: int,
    name: str,
) -> None:
    """The values of a step of one row; the pointer moves to `offset` where `forward` is given."""
    to = f"[{pointer}, #{offset}]" + ("!" if forward else "")
    note = f"values at {name}"
    if tile.walk.value_bytes == 1:
        load, size = {1: ("ldrb", 1), 2: ("ldrh", 2), 3: ("ldrh", 2), 4: ("ldr", 4)}[step.loaded]
        _load(tile, f"{load} {x[0]}, {to}", size, note)
        if step.loaded == 3:
            _load(tile, f"ldrb {x[1]}, [{pointer}, #{offset + 2}]", 1, note)
            tile.listing.op(f"orr {x[0]}, {x[0]}, {x[1]}, lsl #16")
        return
    first, second = used_halves(step, 2)
    if first and second and step.loaded == 4 and tile.walk.aligned and not offset % 4:
        _load(tile, f"ldrd {x[0]}, {x[1]}, {to}", 8, note)
        return
    if first:
        load, size = ("ldrh", 2) if step.loaded == 1 else ("ldr", 4)
        _load(tile, f"{load} {x[0]}, {to}", size, note)
    if second:
        load, size = ("ldrh", 2) if step.loaded == 3 else ("ldr", 4)
        _load(tile, f"{load} {x[1]}, [{pointer}, #{4 if forward else offset + 4}]", size, note)


def _load(tile: Tile, text: str, size: int, note: str) -> None:
    """A load of input values, from the input or from rows on the stack; 8 bytes are two words."""
    count = 2 if size == 8 else 1
    if tile.walk.frame:
        tile.listing.op(text, note, frame_loads=count)
    else:
        tile.listing.op(text, note, input_loads=count, input_bytes=size)


def _halves(m: int, n: int) -> tuple[Half, ...]:
    """The rows of a tile in halves of two; the second half's sums come where the first's leave."""
    count = m * min(n, 2)
    first = Half(tuple(range(min(n, 2))), SUMS[:count], (*SPARE, *SUMS[count:]))
    if n <= 2:
        return (first,)
    rows = tuple(range(2, n))
    sums = (*SPARE[:2], *SUMS)[: m * len(rows)]
    spare = tuple(name for name in (*SUMS, *SPARE) if name not in sums)
    return (first, Half(rows, sums, spare))
