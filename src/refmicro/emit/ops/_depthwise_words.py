"""Depthwise convolutions of four neighbouring channels at a time, for cores with SMLAD.

Channels lie last, so that one word holds four of them: SXTB16 makes halves of channels 0 and 2, and
of 1 and 3, SMLABB and SMLATT multiply them with weights that lie in the same halves. All that four
channels need follows each other in one array of words:

    biases of windows inside (4), biases of windows at an edge (4),
    for each tap the weights of channels 0 | 2 << 16 and of 1 | 3 << 16,
    for each channel its factor and its shift, where channels have their own.

Outputs are requantized in five instructions (`refmicro.mema.kernels.smlad_scale` derives them).
"""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import indented, integer
from refmicro.emit.ops._product import per_channel
from refmicro.mema.kernel import Requantization
from refmicro.mema.kernels.smlad_scale import Scale
from refmicro.ops.depthwise_conv_2d import DepthwiseConv2D

_UNROLLED = 30
"""Taps of a window up to which they are written one by one."""

_BIAS_WORDS = 8

_OFFSETS = 1 << 12
"""Byte offsets of LDR are below this."""


def covered(data: DepthwiseConv2D) -> int:
    """How many channels, from the first on, are done by words; 0 where that does not serve."""
    requantize = data.requantize
    if requantize.wide or data.multiplier != 1 or max(requantize.shifts) > 0:
        return 0
    if 0 in requantize.multipliers:
        return 0
    return data.channels // 4 * 4


def steps(data: DepthwiseConv2D) -> tuple[int, int]:
    """Distances of input values from one row of taps to the next, and from one tap to the next."""
    rows, columns = data.window.height, data.window.width
    depth = data.input.shape[3]
    return rows.dilation * columns.size * depth, columns.dilation * depth


def packed(data: DepthwiseConv2D, channels: int) -> np.ndarray:
    """Words of all groups of four channels."""
    weights = data.weights[:, :channels].astype(np.int64).reshape(data.depth, -1, 4)
    pairs = (weights[..., :2] & 0xFFFF) | (weights[..., 2:] & 0xFFFF) << 16
    biases = (data.folded_bias[:channels], data.constant_bias[:channels])
    parts = [bias.reshape(-1, 4) for bias in biases]
    parts.append(pairs.transpose(1, 0, 2).reshape(-1, 2 * data.depth))
    if per_channel(data.requantize):
        parts.append(np.array(_factors(data)[:channels], np.int64).reshape(-1, 8))
    words = np.concatenate(parts, 1) & 0xFFFFFFFF
    return words.astype(np.uint32).view(np.int32)


def _factors(data: DepthwiseConv2D) -> list[list[int]]:
    """Of each channel the doubled multiplier, as the register holds it, and the shift."""
    requantize = data.requantize
    pairs = zip(requantize.multipliers, requantize.shifts, strict=True)
    scale = Scale(Requantization(left_shifts=False), 8, True)
    return [scale.channel_constants(*pair) for pair in pairs]


def _group_words(data: DepthwiseConv2D) -> int:
    return _BIAS_WORDS + 2 * data.depth + (8 if per_channel(data.requantize) else 0)


def inside(data: DepthwiseConv2D, channels: int) -> str:
    """The channels of a window with all taps."""
    row, column = steps(data)
    rows, width = data.window.height.filter, data.window.width.filter
    unrolled = data.depth <= _UNROLLED and (width - 1) * column < _OFFSETS
    lines = []
    for i in range(rows if unrolled else 0):
        # Rows within reach of the instruction's offset need no pointer of their own.
        base = i * row if (i * row + (width - 1) * column) >= _OFFSETS else 0
        at = f"at + {base}" if base else "at"
        for j in range(width):
            place, word = i * row + j * column - base, _BIAS_WORDS + 2 * (i * width + j)
            lines.append(f"four_products(sum, {at}, {place}, k, {word});")
    if not unrolled:
        at = f"at + i * {row} + j * {column}"
        lines.append(f"""\
for (int i = 0; i < {rows}; i++) {{
    for (int j = 0; j < {width}; j++) {{
        four_products(sum, {at}, 0, k + {_BIAS_WORDS} + 2 * (i * {width} + j), 0);
    }}
}}""")
    lines.append("at += 4;")
    return _groups(data, channels, "const int8_t *at = from;", 0, "\n".join(lines))


def edge(data: DepthwiseConv2D, channels: int) -> str:
    """The channels of a window at an edge."""
    row, column = steps(data)
    width = data.window.width.filter
    point = data.input_zero_point & 0xFFFF
    points = (point | point << 16) - (point >> 15 << 32)
    taps = f"""\
for (int i = i_first; i < i_end; i++) {{
    const int8_t *at = input + (origin + o + i * {row} + j_first * {column});
    const int32_t *w = k + {_BIAS_WORDS} + 2 * (i * {width} + j_first);
    for (int j = j_first; j < j_end; j++) {{
        four_offset_products(sum, at, {integer(points)}, w);
        at += {column};
        w += 2;
    }}
}}"""
    return _groups(data, channels, "", 4, taps)


def _groups(data: DepthwiseConv2D, channels: int, place: str, bias: int, taps: str) -> str:
    """A loop over groups of four channels; constants and outputs are walked over by pointers."""
    place = f"\n{place}" if place else ""
    text = f"""\
int32_t sum0, sum1, sum2, sum3;
four_loaded(sum, k, {bias});
{taps}
{_results(data)}
k += {_group_words(data)};"""
    return f"""\
const int32_t *k = words;{place}
for (int o = 0; o < {channels}; o += 4) {{
{indented(text)}
}}"""


def _results(data: DepthwiseConv2D) -> str:
    """Statements that requantize and store four sums."""
    requantize = data.requantize
    offset = requantize.output_offset
    how = f'"adc", {offset}' if offset >= 0 else f'"sbc", {-offset - 1}'
    first = _BIAS_WORDS + 2 * data.depth
    factor, shift = map(integer, _factors(data)[0])
    lines = []
    for channel in range(4):
        if per_channel(requantize):
            lines.append(f"rounded_int8_by(sum{channel}, k, {first + 2 * channel}, {how});")
        else:
            lines.append(f"rounded_int8(sum{channel}, {factor}, {shift}, {how});")
    lines.append("four_bytes(sum);")
    if requantize.low > -128:
        lines.append(f"sum0 = four_at_least(sum0, {_four(requantize.low)});")
    if requantize.high < 127:
        lines.append(f"sum0 = four_at_most(sum0, {_four(requantize.high)});")
    return "\n".join([*lines, "word_to(to + o, sum0);"])


def _four(value: int) -> str:
    word = (value & 0xFF) * 0x01010101
    return integer(word - (word >> 31 << 32))
