"""How many values one load or store moves: what a problem's alignment leaves of a target's words.

A word holds `v` values side by side. A run of L values costs, in loads of a word,

- ceil(L / v) where the values are packed ahead of time and padded (a constant filter), or where a
  word may lie anywhere and L >= v: the last word then starts at L - v and overlaps the one before,
  and the filter holds zeros for what is read twice;
- L / v where v divides L and every run starts at a multiple of the word;
- L, value by value, in all other cases (v counts as 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import Target


@dataclass(frozen=True)
class Layout:
    """A problem's operands as one target moves them.

    Attributes:
        channels, rows: M and N.
        runs, run: a sum's K terms lie in `runs` runs of `run` neighbouring values.
        gathered: whether each row of a tile needs a pointer of its own (a convolution).
        input_values, filter_values, output_values: values that one load or store moves.
        input_bytes, filter_bytes: of one value; an output value is as large as an input value.
        packed: the filter is packed ahead of time.
        sum_words: registers of one sum, 2 where sums do not fit int32.
        bias_words: words of one channel's bias, 0 without.
        scaled: multiplier and shift are read for each channel; else they are part of the text.
        vector: whether the last load of a run is cut to the run's end (predicated).
    """

    channels: int
    rows: int
    runs: int
    run: int
    gathered: bool
    input_values: int
    filter_values: int
    output_values: int
    input_bytes: int
    filter_bytes: int
    packed: bool
    sum_words: int
    bias_words: int
    scaled: bool
    vector: bool

    @property
    def input_words(self) -> int:
        """Loads of one row's K values."""
        return self.runs * -(-self.run // self.input_values)

    @property
    def filter_words(self) -> int:
        """Loads of one channel's K values."""
        return self.runs * -(-self.run // self.filter_values)

    @property
    def steps(self) -> int:
        """Steps of the depth loop: one filter word each."""
        return self.filter_words


def layout(
    problem: Matmul | Convolution,
    target: Target,
    *,
    bias: bool | None = None,
    wide_sums: bool = False,
    scaled: bool = True,
) -> Layout:
    """The layout of a problem on a target.

    Args:
        problem: sizes and types.
        target: words and alignment.
        bias: whether an array of biases is read; None: as the problem says.
        wide_sums: sums take two registers, and a bias two words.
        scaled: whether arrays of multipliers and shifts are read.
    """
    if isinstance(problem, Convolution) and problem.is_matmul:
        problem = problem.matmul
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    runs, unit = 1, matmul.accum_depth
    if isinstance(problem, Convolution):
        # A window starts at any pixel, so a run lies no better than a pixel does.
        runs, unit = math.prod(problem.runs), problem.input_depth
    run = matmul.accum_depth // runs
    width = target.vector_bytes or target.word_bytes
    filter_width = width // matmul.input_bytes if target.vector_bytes else width
    packed = matmul.constant_filter
    return Layout(
        channels=matmul.output_depth,
        rows=matmul.rows,
        runs=runs,
        run=run,
        gathered=isinstance(problem, Convolution),
        input_values=_values(run, unit, matmul.input_bytes, target),
        filter_values=filter_width if packed else _values(run, run, matmul.filter_bytes, target),
        output_values=_output_values(matmul, target),
        input_bytes=matmul.input_bytes,
        filter_bytes=matmul.filter_bytes,
        packed=packed,
        sum_words=2 if wide_sums else 1,
        bias_words=(2 if wide_sums else 1) if (matmul.bias if bias is None else bias) else 0,
        scaled=scaled,
        vector=bool(target.vector_bytes),
    )


def _values(run: int, unit: int, value_bytes: int, target: Target) -> int:
    if target.vector_bytes:
        return target.vector_bytes // value_bytes
    values = max(1, target.word_bytes // value_bytes)
    usable = run >= values if target.unaligned else unit % values == 0
    return values if usable else 1


def _output_values(problem: Matmul, target: Target) -> int:
    values = max(1, target.word_bytes // problem.input_bytes)
    return values if target.unaligned or problem.output_depth % values == 0 else 1
