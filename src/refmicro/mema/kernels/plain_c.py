"""Kernels in C99 for processors without vector instructions, and for the host.

One static function computes a tile of m channels and n rows; the kernel walks the tiles, channels
outermost, and calls it. Tiles at the edges have functions of their own, so that no tile reads or
writes more than it needs. Everything a tile loads goes into local variables first.

The filter is packed in the order in which it is read: tile of channels, run, word along the depth,
channel of the tile. Element i of word t of a run belongs to k = min(v * t, run - w) + i for input
words of w values (w <= v): what an overlapping last word reads twice is 0 the second time.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from refmicro.mema.kernel import (
    Kernel,
    PackedArrays,
    Requantization,
    has_bias,
    pack_channels,
    prototype,
    reduced_multiplier,
)
from refmicro.mema.kernels.text import comment, indent
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.schedule import Schedule, best
from refmicro.mema.target import Target


def generate(
    problem: Matmul | Convolution,
    target: Target,
    requantization: Requantization,
    name: str,
) -> Kernel:
    """See `refmicro.mema.kernel.generate`."""
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    found = layout(
        problem,
        target,
        bias=has_bias(matmul, requantization),
        wide_sums=requantization.wide_sums,
        scaled=requantization.constant is None,
    )
    schedule = best(target, found)
    text = "\n".join(_Writer(matmul, schedule, requantization, name, target).kernel()) + "\n"
    return Kernel(
        name,
        prototype(name, matmul.input_bits),
        text,
        partial(pack, matmul, schedule, requantization),
        schedule.accesses,
        schedule,
    )


def pack(
    problem: Matmul,
    schedule: Schedule,
    requantization: Requantization,
    filter_values: np.ndarray,
    bias: np.ndarray | None,
    multipliers: object,
    shifts: object,
) -> PackedArrays:
    """The kernel's arrays; see `kernel.Kernel.pack`."""
    used = schedule.layout
    weights = np.asarray(filter_values).reshape(used.channels, used.runs, used.run)
    words = arrange_words(weights, used)
    tiles = [
        words[start : start + schedule.tile.m].transpose(1, 2, 0, 3).reshape(-1)
        for start in range(0, used.channels, schedule.tile.m)
    ]
    packed = {"filter": np.concatenate(tiles).astype(np.int8)}
    channels = (filter_values, bias, multipliers, shifts)
    return packed | pack_channels(problem, requantization, *channels)


def arrange_words(weights: np.ndarray, used: Layout) -> np.ndarray:
    """Filter values (channels, runs, run) as words (channels, runs, words, values of a word)."""
    index = element_index(used.run, used.input_values, used.filter_values)
    padded = np.concatenate([weights, np.zeros((*weights.shape[:2], 1), weights.dtype)], axis=2)
    return padded[:, :, index]


def element_index(run: int, input_values: int, filter_values: int) -> np.ndarray:
    """k of each element of each filter word of a run; `run` itself, a zero, where it has none."""
    words = -(-run // filter_values)
    index = np.full(words * filter_values, run)
    for word in range(-(-run // input_values)):
        start = min(word * input_values, run - input_values)
        for i in range(input_values):
            if start + i >= word * input_values:
                index[word * input_values + i] = start + i
    return index.reshape(words, filter_values)


class _Writer:
    """Writes one kernel; holds what every part of the text needs to know."""

    def __init__(
        self,
        problem: Matmul,
        schedule: Schedule,
        requantization: Requantization,
        name: str,
        target: Target,
    ) -> None:
        self.problem = problem
        self.schedule = schedule
        self.layout = schedule.layout
        self.requantization = requantization
        self.name = name
        self.target = target
        self.value = f"int{problem.input_bits}_t"
        self.wide = requantization.wide_sums
        aligned = "" if target.unaligned else "_aligned"
        self.load, self.store = f"mema_load{aligned}", f"mema_store{aligned}"

    def kernel(self) -> list[str]:
        """The whole text."""
        m, n = self.schedule.tile.m, self.schedule.tile.n
        lines = comment(self.head())
        heights = sorted({min(m, self.layout.channels), self.layout.channels % m} - {0})
        widths = sorted({min(n, self.layout.rows), self.layout.rows % n} - {0})
        for height in reversed(heights):
            for width in reversed(widths):
                lines += [*self.tile(height, width), ""]
        return lines + self.walk(m, n)

    def head(self) -> str:
        """What the kernel computes and what it accesses."""
        p, s, a = self.problem, self.schedule, self.schedule.accesses
        return (
            f"{self.name}: {p.output_depth} channels, depth {p.accum_depth}, {p.rows} rows, "
            f"int{p.input_bits}, for {self.target.name}.\n"
            f"{s.order.value}, tile of {s.tile.m} channels x {s.tile.n} rows.\n"
            f"Predicted loads: input {a.input_loads.count}, filter {a.filter_loads.count}, bias "
            f"{a.bias_loads.count}, multiplier {a.multiplier_loads.count}, shift "
            f"{a.shift_loads.count}; stores: output {a.output_stores.count}."
        )

    def tile(self, m: int, n: int) -> list[str]:
        """The function of one register tile."""
        body = [*self.start(m, n), *self.depth(m, n), *self.finish(m, n)]
        arguments = ", ".join(f"{kind}{what}" for kind, what in self.arguments())
        return [
            f"/* {m} channels x {n} rows. */",
            f"static void {self.name}_{m}x{n}({arguments})",
            "{",
            *indent(body),
            "}",
        ]

    def arguments(self) -> list[tuple[str, str]]:
        """Parameters of a tile's function: (type, name)."""
        found = [(f"const {self.value} *", "x"), ("const int8_t *", "f")]
        if self.layout.bias_words:
            found.append(("const int32_t *", "bias"))
        if self.layout.scaled:
            found += [("const int32_t *", "multiplier"), ("const int8_t *", "shift")]
        return [*found, (f"{self.value} *", "y")]

    def start(self, m: int, n: int) -> list[str]:
        """Sums start from the folded bias."""
        lines = []
        for i in range(m):
            if self.wide:
                value = f"mema_bias_wide(bias + {2 * i})" if self.layout.bias_words else "0"
                lines.append(f"int64_t s{i}_0 = {value};")
            else:
                value = f"(uint32_t)bias[{i}]" if self.layout.bias_words else "0"
                lines.append(f"uint32_t s{i}_0 = {value};")
            kind = "int64_t" if self.wide else "uint32_t"
            lines += [f"{kind} s{i}_{j} = s{i}_0;" for j in range(1, n)]
        return lines

    def depth(self, m: int, n: int) -> list[str]:
        """The loop over the depth, and the rest that does not fill a step."""
        run, width = self.layout.run, self.layout.filter_values
        steps, rest = divmod(run, width)
        lines = []
        if steps:
            move = [f"x += {width};", f"f += {width * m};"]
            body = indent([*self.step(m, n, width), *move])
            lines += [f"for (unsigned step = {steps}; step > 0; --step) {{", *body, "}"]
        if rest:
            lines += ["{", *indent(self.step(m, n, rest)), "}"]
        return lines

    def step(self, m: int, n: int, count: int) -> list[str]:
        """`count` products of each sum."""
        lines, names = [], []
        for j in range(n):
            loads, operands = self.inputs(j, count)
            lines += loads
            names.append(operands)
        for i in range(m):
            if self.layout.filter_values == 1:
                lines.append(f"const int32_t f{i} = f[{i}];")
            else:
                lines.append(f"const uint32_t f{i} = {self.load}(f + {4 * i});")
            for j in range(n):
                lines.append(f"s{i}_{j} {self.product(i, j, names[j])}")
        return lines

    def inputs(self, j: int, count: int) -> tuple[list[str], list[str]]:
        """Declarations of row j's inputs of a step, and their names."""
        values, row = self.layout.input_values, j * self.layout.run
        kind = "int32_t" if values == 1 else "uint32_t"
        lines, names = [], []
        for word in range(-(-count // values)):
            offset = row + word * values
            # The last word of a run ends where the run ends.
            offset -= max(0, (word + 1) * values - count)
            place = f"x[{offset}]" if values == 1 else f"{self.load}(x + {offset})"
            place = place.replace("(x + 0)", "(x)").replace("+ -", "- ")
            names.append(f"x{j}_{word}")
            lines.append(f"const {kind} x{j}_{word} = {place};")
        return lines, names

    def product(self, i: int, j: int, names: list[str]) -> str:
        """The right side that adds a step's products to sum s_i_j."""
        if self.layout.filter_values == 1:
            term = f"f{i} * {names[0]}"
            return f"+= {term};" if self.wide else f"+= (uint32_t)({term});"
        wide = "_wide" if self.wide else ""
        if self.layout.input_values == 1:
            kind, operands = "values", names + ["0"] * (4 - len(names))
        elif self.problem.input_bits == 8:
            return f"= mema_dot_s8(s{i}_{j}, f{i}, {names[0]});"
        else:
            kind, operands = "s16", names + ["0"] * (2 - len(names))
        return f"= mema_dot_{kind}{wide}(s{i}_{j}, f{i}, {', '.join(operands)});"

    def finish(self, m: int, n: int) -> list[str]:
        """Requantization and stores."""
        values = self.layout.output_values
        words = values > 1 and self.schedule.tile.m % values == 0
        lines = []
        for i in range(m):
            first, last = words and i % values == 0, words and i % values == values - 1
            whole = words and i - i % values + values <= m
            lines += self.scale(i, n)
            for j in range(n):
                place = j * self.layout.channels + i
                if not whole:
                    lines.append(f"y[{place}] = ({self.value})q{i}_{j};")
                    continue
                bits = self.problem.input_bits
                term = f"(uint32_t)q{i}_{j}"
                if not last:
                    term = f"({term} & {(1 << bits) - 1}u)"
                if not first:
                    term = f"{term} << {i % values * bits}"
                word = f"w{i // values}_{j}"
                lines.append(f"uint32_t {word} = {term};" if first else f"{word} |= {term};")
                if last:
                    at = place - values + 1
                    lines.append(f"{self.store}(y + {at}, {word});".replace("y + 0", "y"))
        return lines

    def scale(self, i: int, n: int) -> list[str]:
        """q_i_j, the outputs of channel i."""
        used = self.requantization
        low, high = used.low - used.output_offset, used.high - used.output_offset
        lines = []
        if used.constant is None:
            lines.append(f"const int32_t multiplier{i} = multiplier[{i}];")
            lines.append(f"const int shift{i} = shift[{i}];")
            operands = f"multiplier{i}, shift{i}"
        else:
            operands = "{}, {}".format(*constant_operands(used))
        rule = "mema_scale_wide" if used.wide else "mema_scale"
        if not used.wide and not used.left_shifts:
            rule = "mema_scale_right"
        kind = "" if self.wide else "(int32_t)"
        for j in range(n):
            scaled = f"{rule}({kind}s{i}_{j}, {operands})"
            clamped = f"mema_clamp({scaled}, {low}, {high})"
            if used.output_offset:
                clamped += f" + {used.output_offset}".replace("+ -", "- ")
            lines.append(f"const int32_t q{i}_{j} = {clamped};")
        return lines

    def walk(self, m: int, n: int) -> list[str]:
        """The kernel itself: loops over tiles."""
        used = self.layout
        lines = ["const int8_t *f = w->filter;"]
        lines += ["const int32_t *bias = w->bias;"] if used.bias_words else []
        if used.scaled:
            lines += ["const int32_t *multiplier = w->multiplier;"]
            lines += ["const int8_t *shift = w->shift;"]
        whole, rest = divmod(used.channels, m)
        if whole:
            body = [*self.row_loop(m, n), *self.advance(m)]
            lines += [f"for (unsigned tile = {whole}; tile > 0; --tile) {{", *indent(body), "}"]
        if rest:
            lines += ["{", *indent(self.row_loop(rest, n)), "}"]
        return [prototype(self.name, self.problem.input_bits), "{", *indent(lines), "}"]

    def row_loop(self, m: int, n: int) -> list[str]:
        """All rows of one tile of channels."""
        used = self.layout
        names = ", ".join(what for _, what in self.arguments())
        whole, rest = divmod(used.rows, n)
        lines = [f"const {self.value} *x = input;", f"{self.value} *y = output;"]
        if whole:
            body = [
                f"{self.name}_{m}x{n}({names});",
                f"x += {n * self.problem.accum_depth};",
                f"y += {n * used.channels};",
            ]
            lines += [f"for (unsigned rows = {whole}; rows > 0; --rows) {{", *indent(body), "}"]
        if rest:
            lines.append(f"{self.name}_{m}x{rest}({names});")
        return lines

    def advance(self, m: int) -> list[str]:
        """Pointers to the next tile of channels."""
        used = self.layout
        lines = [f"f += {m * used.filter_words * used.filter_values};", f"output += {m};"]
        if used.bias_words:
            lines.append(f"bias += {m * used.bias_words};")
        if used.scaled:
            lines += [f"multiplier += {m};", f"shift += {m};"]
        return lines


def constant_operands(used: Requantization) -> tuple[int, int]:
    """(multiplier, shift) as a kernel's text gives them to its rule."""
    multiplier, shift = used.constant
    if used.wide:
        return reduced_multiplier(multiplier), 15 - shift
    return multiplier, shift
