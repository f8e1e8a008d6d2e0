"""Statements that all plain kernels are made of: loads, products, requantization, stores.

Names in the text: `s0_1` the sum of channel 0 and row 1 of a tile, `x1_0` the first input word of
row 1, `f0_0` the first filter word of channel 0, `q0_1` an output, `w0_1` outputs that gather.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.kernel import Requantization, reduced_multiplier
from refmicro.mema.kernels.text import comment, indent
from refmicro.mema.layout import Layout
from refmicro.mema.problem import Matmul
from refmicro.mema.schedule import Schedule
from refmicro.mema.target import Target


@dataclass(frozen=True)
class Parts:
    """What the text of one kernel depends on, and the statements that follow from it."""

    problem: Matmul
    schedule: Schedule
    requantization: Requantization
    name: str
    target: Target

    @property
    def layout(self) -> Layout:
        """How operands move."""
        return self.schedule.layout

    @property
    def value(self) -> str:
        """C type of inputs and outputs."""
        return f"int{self.problem.input_bits}_t"

    @property
    def sum_type(self) -> str:
        """C type of sums; unsigned, because they may wrap."""
        return "int64_t" if self.requantization.wide_sums else "uint32_t"

    @property
    def load(self) -> str:
        """The function that loads a word."""
        return "mema_load" if self.target.unaligned else "mema_load_aligned"

    @property
    def store(self) -> str:
        """The function that stores a word."""
        return "mema_store" if self.target.unaligned else "mema_store_aligned"

    @property
    def parameters(self) -> list[tuple[str, str, int]]:
        """(C type, name, values a channel) of arrays that a channel reads besides its filter."""
        found = []
        if self.layout.bias_words:
            found.append(("const int32_t *", "bias", self.layout.bias_words))
        if self.layout.scaled:
            found += [("const int32_t *", "multiplier", 1), ("const int8_t *", "shift", 1)]
        return found

    def head(self) -> list[str]:
        """What the kernel computes and what it accesses."""
        p, s, a = self.problem, self.schedule, self.schedule.accesses
        lines = [
            f"{p.output_depth} channels, depth {p.accum_depth}, rows {p.rows}, "
            f"int{p.input_bits}, for {self.target.name}: {s.order.value}, tile of "
            f"{s.tile.m} channels x {s.tile.n} rows.",
            "",
            "Predicted accesses of one call, which the stack's come on top of:",
            f"  input {a.input_loads.count}, filter {a.filter_loads.count}, "
            f"bias {a.bias_loads.count}, multiplier {a.multiplier_loads.count}, "
            f"shift {a.shift_loads.count} loads; output {a.output_stores.count} stores",
            f"  {a.count} in all, {a.count / p.macs:.3f} a product; no tile of these registers "
            f"has fewer than {s.floor}",
        ]
        return comment("\n".join(lines))

    def bias(self, i: int) -> str:
        """Start of channel i's sums."""
        if not self.layout.bias_words:
            return "0"
        if self.requantization.wide_sums:
            return f"mema_bias_wide({at('bias', 2 * i)})"
        return f"(uint32_t){self.value_load('bias', i, 32)}"

    def value_load(self, pointer: str, offset: int, bits: int) -> str:
        """One value at `pointer + offset`; on the host as the compiler likes it."""
        if self.target.word_bytes == 1:
            return f"{pointer}[{offset}]"
        return f"mema_load_int{bits}({at(pointer, offset)})"

    def filter_load(self, offset: int, count: int) -> str:
        """A filter value or word at `f + offset`, of which `count` values matter."""
        if self.layout.filter_values == 1:
            return self.value_load("f", offset, 8)
        return f"{self.load}({at('f', offset)})"

    @property
    def filter_type(self) -> str:
        """C type of what one filter load brings."""
        return "int32_t" if self.layout.filter_values == 1 else "uint32_t"

    def step_words(self, count: int) -> list[int]:
        """Where the input words of a step of `count` values start."""
        values = self.layout.input_values
        # The last word of a run ends where the run ends.
        return [min(at, count - values) for at in range(0, count, values)]

    def input_load(self, pointer: str, offset: int, count: int) -> str:
        """An input value or word at `pointer + offset`, in a step of `count` values."""
        if self.layout.input_values == 1:
            return self.value_load(pointer, offset, self.problem.input_bits)
        return f"{self.load}({at(pointer, offset)})"

    @property
    def input_type(self) -> str:
        """C type of what one input load brings."""
        return "int32_t" if self.layout.input_values == 1 else "uint32_t"

    def product(self, total: str, f: str, x: str, word: int) -> str:
        """The statement that adds the products of a filter word and its input word `word`."""
        if self.layout.filter_values == 1:
            return self.add(total, f"{f} * {x}")
        if self.layout.input_values == 1:
            return self.add(total, f"mema_byte({f}, {word}) * {x}")
        if self.problem.input_bits == 8:
            return f"{total} = mema_dot_s8({total}, {f}, {x});"
        return f"{total} = mema_dot_s16{self.wide}({total}, {f}, {2 * word}, {x});"

    def add(self, total: str, product: str) -> str:
        """The statement that adds one product."""
        if self.target.word_bytes > 1:
            return f"{total} = mema_add{self.wide}({total}, {product});"
        if self.requantization.wide_sums:
            return f"{total} += {product};"
        return f"{total} += (uint32_t)({product});"

    @property
    def wide(self) -> str:
        """End of names of functions for sums of 64 bits."""
        return "_wide" if self.requantization.wide_sums else ""

    def hold(self, words: list[str], values: int) -> list[str]:
        """Statements that keep words packed between two uses, where registers are short.

        Unpacked ahead, a word of `values` values takes as many registers.
        """
        extra = (values - self.target.operand_registers) * len(words) - 1
        if self.schedule.spare_registers >= extra:
            return []
        return [f"MEMA_HOLD({word});" for word in words]

    def scales(self, i: int) -> list[str]:
        """Declarations of channel i's multiplier and shift."""
        if not self.layout.scaled:
            return []
        return [
            f"const int32_t multiplier{i} = {self.value_load('multiplier', i, 32)};",
            f"const int shift{i} = {self.value_load('shift', i, 8)};",
        ]

    def operands(self, i: int) -> tuple[str, str]:
        """Channel i's multiplier and shift as its rule takes them."""
        used = self.requantization
        if used.constant is None:
            return f"multiplier{i}", f"shift{i}"
        multiplier, shift = used.constant
        if used.wide:
            return str(reduced_multiplier(multiplier)), str(15 - shift)
        return str(multiplier), str(shift)

    def limits(self) -> tuple[int, int, int]:
        """(low, high, offset): the clamp comes first, so that adding the offset cannot overflow."""
        used = self.requantization
        return used.low - used.output_offset, used.high - used.output_offset, used.output_offset

    def outputs(self, i: int, n: int) -> list[str]:
        """Declarations of channel i's outputs of n rows: its rule on each sum."""
        used = self.requantization
        low, high, offset = self.limits()
        rule = "mema_scale" if used.left_shifts else "mema_scale_right"
        rule = "mema_scale_wide" if used.wide else rule
        end = f" {'-' if offset < 0 else '+'} {abs(offset)}" if offset else ""
        lines = []
        for j in range(n):
            x = f"s{i}_{j}" if used.wide_sums else f"(int32_t)s{i}_{j}"
            scaled = f"{rule}({x}, {', '.join(self.operands(i))})"
            lines.append(f"const int32_t q{i}_{j} = mema_clamp({scaled}, {low}, {high}){end};")
        return lines

    def finish(self, m: int, n: int) -> list[str]:
        """Outputs and stores of a whole tile of sums."""
        lines = []
        for i in range(m):
            lines += [*self.scales(i), *self.outputs(i, n), *self.stores(i, m, n)]
        return lines

    def value_store(self, offset: int, value: str) -> str:
        """The statement that stores one output."""
        if self.target.word_bytes == 1:
            return f"y[{offset}] = ({self.value}){value};"
        return f"mema_store_{self.value.removesuffix('_t')}({at('y', offset)}, {value});"

    def stores(self, i: int, m: int, n: int) -> list[str]:
        """Channel i of m, for n rows: a store each, or a part of words that leave with the last."""
        values, bits = self.layout.output_values, self.problem.input_bits
        gathered = (
            values > 1 and self.schedule.tile.m % values == 0 and i - i % values + values <= m
        )
        lines = []
        for j in range(n):
            place = j * self.layout.channels + i
            if not gathered:
                lines.append(self.value_store(place, f"q{i}_{j}"))
                continue
            word, part = f"w{i // values}_{j}", i % values
            term = f"(uint32_t)q{i}_{j}"
            if part < values - 1:
                term = f"({term} & {(1 << bits) - 1}u)"
            if part:
                term = f"{term} << {part * bits}"
            lines.append(f"uint32_t {word} = {term};" if part == 0 else f"{word} |= {term};")
            if part == values - 1:
                lines.append(f"{self.store}({at('y', place - part)}, {word});")
        return lines


def at(pointer: str, offset: int) -> str:
    """`pointer + offset` in C."""
    if offset == 0:
        return pointer
    return f"{pointer} {'-' if offset < 0 else '+'} {abs(offset)}"


def loop(times: int, counter: str, body: list[str]) -> list[str]:
    """A body that runs `times` times; a block where that is once, nothing where it is never."""
    if times == 0:
        return []
    head = f"for (unsigned {counter} = {times}; {counter} > 0; --{counter}) {{"
    return ["{" if times == 1 else head, *indent(body), "}"]


def function(head: str, body: list[str]) -> list[str]:
    """A function's definition; a long list of parameters takes more lines."""
    if len(head) > 96:
        name, _, parameters = head.partition("(")
        lines, line = [], "   "
        for parameter in parameters.rstrip(")").split(", "):
            if len(line) + len(parameter) > 92:
                lines, line = [*lines, line], "   "
            line += f" {parameter},"
        return [f"{name}(", *lines, line.rstrip(",") + ")", "{", *indent(body), "}", ""]
    return [head, "{", *indent(body), "}", ""]
