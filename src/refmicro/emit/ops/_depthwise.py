"""Depthwise convolutions: windows inside of the image apart from those at its edges.

A window that lies inside has all its taps, with constant distances between them, and starts from a
bias that holds the input's zero point. At an edge the first and the last tap of both directions are
computed for the window, and each input loses its zero point. Filters are laid out channel by
channel, so that a window's taps follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refmicro.emit.c_text import indented, plus
from refmicro.emit.ops import _depthwise_words
from refmicro.emit.ops._depthwise_words import steps
from refmicro.emit.ops._elementwise import arena_type, parameter
from refmicro.emit.ops._product import constants_of, per_channel, requantized, sum_type
from refmicro.emit.ops._scale import clamped
from refmicro.emit.unit import Op
from refmicro.mema.target import find_target
from refmicro.ops._window import Axis
from refmicro.ops.depthwise_conv_2d import DepthwiseConv2D

_INT32 = 1 << 31

_UNROLLED = 16
"""Taps of a window up to which they are written one by one."""


@dataclass(frozen=True)
class Side:
    """Where windows along one axis lie inside of the image.

    Attributes:
        axis: the axis.
        first, end: output positions whose windows have all taps; none where they are equal.
    """

    axis: Axis
    first: int
    end: int

    @property
    def is_inside(self) -> bool:
        """Whether all windows have all taps."""
        return (self.first, self.end) == (0, self.axis.out)


def side_of(axis: Axis) -> Side:
    """The positions inside, from how many taps each has."""
    inside = np.flatnonzero(axis.counts == axis.filter)
    if not inside.size:
        return Side(axis, 0, 0)
    return Side(axis, int(inside[0]), int(inside[-1]) + 1)


def emit_depthwise(op: Op, data: DepthwiseConv2D) -> bool:
    """The operator, of int8 or int16 with a constant filter; False where that does not serve."""
    folded = int(np.abs(data.folded_bias).max(initial=0))
    if data.requantize is None or not data.filter.is_constant or data.has_computed_bias:
        return False
    if not data.requantize.wide and data.raw_bound + folded >= _INT32:
        return False
    sides = side_of(data.window.height), side_of(data.window.width)
    words = 0
    if find_target(op.unit.target).family == "smlad":
        words = _depthwise_words.covered(data)
    texts, constants = [], {}
    for inside, there in ((True, _has_inside(sides)), (False, _has_edge(sides))):
        used: dict = {}
        text = "\n".join(_window(op, data, used, words, inside=inside)) if there else ""
        if inside and there:
            text = _run(op, data, used, sides[1], text)
        texts.append(text)
        constants |= used
    parameters = [
        parameter(op.input(0), "input"),
        *constants.values(),
        parameter(op.output(), "output", write=True),
    ]
    op.kernel(parameters, _images(op, data, sides, *texts))
    return True


def _run(op: Op, data: DepthwiseConv2D, constants: dict, columns: Side, window: str) -> str:
    """A function for all windows of a row that lie inside, and its call for the first of them.

    It is a function of its own so that its loops have all registers.
    """
    x, y = (arena_type(operand.c_type) for operand in (op.input(0), op.output()))
    declared = [
        f"const {x} *from",
        *(f"{c_type}{name}" for c_type, name, _ in constants.values()),
        f"{y} *to",
    ]
    arguments = ",\n    ".join(declared)
    step = columns.axis.stride * data.input.shape[3]
    text = f"""\
#if defined(__GNUC__)
__attribute__((noinline))
#endif
static void NAME(
    {arguments})
{{
    for (int x = {columns.first}; x < {columns.end}; x++) {{
{indented(window, 2)}
        from += {step};
        to += {data.channels};
    }}
}}
"""
    name = op.unit.whole_function(f"{op.base}_row", text)
    call = f"{name}({', '.join(['input + origin', *constants, 'to'])});"
    return call if columns.end - columns.first == 1 else f"{call}\nx = {columns.end - 1};"


def _has_inside(sides: tuple[Side, Side]) -> bool:
    return all(side.first < side.end for side in sides)


def _has_edge(sides: tuple[Side, Side]) -> bool:
    return not all(side.is_inside for side in sides)


def _window(
    op: Op, data: DepthwiseConv2D, parameters: dict, words: int, *, inside: bool
) -> Iterator[str]:
    """Statements for all channels of a window, `words` of them by words; `parameters` takes the
    constants that they need."""
    if words:
        constant = op.constant("words", _depthwise_words.packed(data, words))
        parameters["words"] = ("const int32_t *", "words", constant)
        make = _depthwise_words.inside if inside else _depthwise_words.edge
        yield make(data, words)
    if words < data.channels:
        yield _channels(op, data, parameters, words, inside=inside)


def _images(op: Op, data: DepthwiseConv2D, sides: tuple[Side, Side], inside: str, edge: str) -> str:
    """Loops over output pixels; `origin` is the index of a window's first value."""
    rows, columns = (side.axis for side in sides)
    depth = data.input.shape[3]
    value = arena_type(op.output().c_type)
    image = f"(n * {rows.size} + top) * {columns.size} + left"
    body = _choice(sides, inside, edge)
    text = f"""\
const int left = {_first("x", columns)};
const int origin = ({image}) * {depth};
{value} *const to = output + ((n * {rows.out} + y) * {columns.out} + x) * {data.channels};
{body}"""
    text = f"""\
const int top = {_first("y", rows)};
for (int x = 0; x < {columns.out}; x++) {{
{indented(text)}
}}"""
    text = f"for (int y = 0; y < {rows.out}; y++) {{\n{indented(text)}\n}}"
    return f"for (int n = 0; n < {data.input.shape[0]}; n++) {{\n{indented(text)}\n}}"


def _choice(sides: tuple[Side, Side], inside: str, edge: str) -> str:
    """Statements for one window, by where it lies."""
    rows, columns = sides
    if not _has_edge(sides):
        return inside
    taps = "\n".join(
        f"const int {first}_first = {_first_tap(start, side.axis)};\n"
        f"const int {first}_end = {_end_tap(start, side.axis)};"
        for first, start, side in (("i", "top", rows), ("j", "left", columns))
    )
    edge = f"{taps}\n{edge}"
    if not _has_inside(sides):
        return edge
    tests = [
        test
        for name, side in (("y", rows), ("x", columns))
        for test in (
            f"{name} >= {side.first}" if side.first else "",
            f"{name} < {side.end}" if side.end < side.axis.out else "",
        )
        if test
    ]
    return f"if ({' && '.join(tests)}) {{\n{indented(inside)}\n}} else {{\n{indented(edge)}\n}}"


def _first(output: str, axis: Axis) -> str:
    """Where a window begins, before the image perhaps."""
    first = output if axis.stride == 1 else f"{output} * {axis.stride}"
    return f"{first} - {axis.pad}" if axis.pad else first


def _first_tap(start: str, axis: Axis) -> str:
    if axis.pad == 0:
        return "0"
    if axis.dilation == 1:
        return f"{start} < 0 ? -{start} : 0"
    return f"{start} < 0 ? ({axis.dilation - 1} - {start}) / {axis.dilation} : 0"


def _end_tap(start: str, axis: Axis) -> str:
    """Behind the last tap in the image; not above the first where none is."""
    if axis.reach - axis.pad <= axis.size:
        return str(axis.filter)
    within = f"{start} + {axis.span - 1} < {axis.size}"
    left = f"{axis.size} - {start}"
    if axis.dilation > 1:
        left = f"({axis.size + axis.dilation - 1} - {start}) / {axis.dilation}"
    return f"{within} ? {axis.filter} : {left}"


def _inside(data: DepthwiseConv2D) -> str:
    """The taps of a window inside, for one channel."""
    row, column = steps(data)
    width = data.window.width.filter
    if data.depth <= _UNROLLED:
        places = [(t, t // width * row + t % width * column) for t in range(data.depth)]
        return "\n".join(f"sum += at[{place}] * taps[{t}];" for t, place in places)
    return f"""\
for (int i = 0; i < {data.window.height.filter}; i++) {{
    for (int j = 0; j < {width}; j++) {{
        sum += at[i * {row} + j * {column}] * taps[i * {width} + j];
    }}
}}"""


def _edge(data: DepthwiseConv2D) -> str:
    """The same of a window at an edge; `at` may lie before the image, so that it is an index."""
    row, column = steps(data)
    value = plus(f"input[at + i * {row} + j * {column}]", -data.input_zero_point)
    return f"""\
for (int i = i_first; i < i_end; i++) {{
    for (int j = j_first; j < j_end; j++) {{
        sum += {value} * taps[i * {data.window.width.filter} + j];
    }}
}}"""


def _channels(op: Op, data: DepthwiseConv2D, parameters: dict, first: int, *, inside: bool) -> str:
    """All channels from `first` on, one after another."""
    requantize = data.requantize
    total = sum_type(requantize)
    start = "0"
    bias, name = (data.folded_bias, "folded") if inside else (data.constant_bias, "bias")
    if bias.any():
        constant = op.constant(name, bias.astype(np.int64 if requantize.wide else np.int32))
        parameters[name] = (f"const {total} *", name, constant)
        start = f"{name}[o]"
    filters = op.constant("filter", data.weights.T.astype(np.int8))
    parameters["filter"] = ("const int8_t *", "filter", filters)
    parameters |= {item[1]: item for item in constants_of(op, requantize)}
    source = "o" if data.multiplier == 1 else f"o / {data.multiplier}"
    place = f"const int at = origin + {source};"
    if inside:
        place = f"const {arena_type(op.input(0).c_type)} *at = from + {source};"
    text = f"""\
{place}
const int8_t *taps = filter + o * {data.depth};
{total} sum = {start};
{_inside(data) if inside else _edge(data)}
to[o] = {_result(op, data)};"""
    return f"for (int o = {first}; o < {data.channels}; o++) {{\n{indented(text)}\n}}"


def _result(op: Op, data: DepthwiseConv2D) -> str:
    """The expression of an output from its sum."""
    requantize = data.requantize
    if not _always_right(data):
        return requantized(op, requantize, "sum", "o", _bound(data))
    value = "scaled(sum, multipliers[o], 1 << (-shifts[o] - 1), -shifts[o])"
    value = plus(value, requantize.output_offset)
    return f"({op.output().c_type}){clamped(op, value, requantize.low, requantize.high)}"


def _bound(data: DepthwiseConv2D) -> int:
    """Of a sum's magnitude, bias included."""
    return data.bound + int(np.abs(data.constant_bias).max(initial=0))


def _always_right(data: DepthwiseConv2D) -> bool:
    """Whether all channels, each with its own multiplier, divide after it by two or more."""
    requantize = data.requantize
    if requantize.wide or not per_channel(requantize) or _bound(data) >= _INT32 // 2 - 4:
        return False
    return min(requantize.shifts) >= -30 and max(requantize.shifts) < 0
