"""Closed formulas for the loads and stores of a matrix product, by loop order and tile.

Notation: M channels, N rows, F filter loads of one channel's depth, X input loads of one row's
depth (`Layout`), B bias words; a tile is m channels, n rows and k steps of the depth; a = ceil(M/m)
and b = ceil(N/n) count the tiles, t = ceil(F/k) the pieces of the depth.

| order             | stays in registers         | input | filter | bias  | scales | partial sums |
|-------------------|----------------------------|-------|--------|-------|--------|--------------|
| output-stationary | m n sums, all of the depth | a N X | b M F  | b M B | b M    | none         |
| weight-stationary | k words of m channels      | a N X | M F    | M B   | M      | 2 (t-1) M N  |
| input-stationary  | k steps of n rows          | N X   | b M F  | b M B | b M    | 2 (t-1) M N  |

"scales" is a load of a multiplier and one of a shift; partial sums are stored and loaded again.
Weight-stationary keeps the bias and the scales of its channels in registers too.
A tile at the edge is narrower and loads only what it needs, so a and b are the only ceilings.
`outer` is output-stationary with rank-1 updates: one k a step, the filter packed along its
channels, so that inputs come value by value; `inner` (the first row) takes a word of each along k.

Stores: a row's M outputs leave as words where the tile holds a whole number of words' channels,
floor(M / v) words and M mod v single values; else as M single values.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields

from refmicro.mema.layout import Layout


class Order(enum.Enum):
    """Which operand stays in registers, and how a step of the depth multiplies."""

    OUTPUT = "output-stationary"
    OUTER = "output-stationary, outer product"
    WEIGHT = "weight-stationary"
    INPUT = "input-stationary"


@dataclass(frozen=True)
class Tile:
    """m channels, n rows, k steps of the depth (of `Layout.steps`)."""

    m: int
    n: int
    k: int


@dataclass(frozen=True)
class Traffic:
    """Accesses of one kind: how many, and how many bytes they move."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.count + other.count, self.bytes + other.bytes)

    def __mul__(self, times: int) -> Traffic:
        return Traffic(self.count * times, self.bytes * times)


@dataclass(frozen=True)
class Accesses:
    """Data accesses of one kernel call. What a compiler keeps on the stack is not among them."""

    input_loads: Traffic = Traffic()
    filter_loads: Traffic = Traffic()
    bias_loads: Traffic = Traffic()
    multiplier_loads: Traffic = Traffic()
    shift_loads: Traffic = Traffic()
    partial_loads: Traffic = Traffic()
    partial_stores: Traffic = Traffic()
    copy_loads: Traffic = Traffic()
    copy_stores: Traffic = Traffic()
    output_stores: Traffic = Traffic()

    @property
    def loads(self) -> Traffic:
        """All loads."""
        return sum(
            (getattr(self, f.name) for f in fields(self) if f.name.endswith("loads")), Traffic()
        )

    @property
    def stores(self) -> Traffic:
        """All stores."""
        return self.partial_stores + self.copy_stores + self.output_stores

    @property
    def count(self) -> int:
        """Loads and stores."""
        return self.loads.count + self.stores.count

    def __add__(self, other: Accesses) -> Accesses:
        return Accesses(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __mul__(self, times: int) -> Accesses:
        return Accesses(**{f.name: getattr(self, f.name) * times for f in fields(self)})


def accesses(layout: Layout, order: Order, tile: Tile, *, staged: bool = False) -> Accesses:
    """Loads and stores of one product in a loop order with a tile: the table above.

    `staged` copies the filter of each tile of channels to SRAM before its rows pass: M F loads and
    as many stores more, and the kernel's own loads then come from SRAM (see `levels`).

    Counts are accesses; bytes are those the accesses move, padding and overlap included, except
    that vector loads are cut to the end of a run.
    """
    channel_tiles, row_tiles = -(-layout.channels // tile.m), -(-layout.rows // tile.n)
    pieces = -(-layout.steps // tile.k)
    input_passes = 1 if order is Order.INPUT else channel_tiles
    filter_passes = 1 if order is Order.WEIGHT else row_tiles
    parameters = layout.channels * filter_passes
    stationary = order in (Order.WEIGHT, Order.INPUT)
    partial = (pieces - 1) * layout.channels * layout.rows * layout.sum_words if stationary else 0
    scales = parameters if layout.scaled else 0
    if order is Order.OUTER:
        inputs, filters = outer_input(layout), outer_filter(layout, tile.m)
    else:
        inputs, filters = input_run(layout), filter_run(layout) * layout.channels
    copies = filter_run(layout) * layout.channels if staged else Traffic()
    return Accesses(
        input_loads=inputs * (layout.rows * input_passes),
        filter_loads=filters * filter_passes,
        bias_loads=Traffic(1, 4) * (parameters * layout.bias_words),
        multiplier_loads=Traffic(1, 4) * scales,
        shift_loads=Traffic(1, 1) * scales,
        partial_loads=Traffic(1, 4) * partial,
        partial_stores=Traffic(1, 4) * partial,
        copy_loads=copies,
        copy_stores=copies,
        output_stores=_stores(layout, tile.m),
    )


def input_run(layout: Layout) -> Traffic:
    """Loads of one row's depth."""
    moved = layout.run if layout.vector else _moved(layout.run, layout.input_values)
    return Traffic(layout.input_words, layout.runs * moved * layout.input_bytes)


def filter_run(layout: Layout) -> Traffic:
    """Loads of one channel's depth."""
    moved = layout.run if layout.vector else _moved(layout.run, layout.filter_values)
    return Traffic(layout.filter_words, layout.runs * moved * layout.filter_bytes)


def outer_input(layout: Layout) -> Traffic:
    """Loads of one row's depth, value by value."""
    depth = layout.runs * layout.run
    return Traffic(depth, depth * layout.input_bytes)


def outer_filter(layout: Layout, m: int) -> Traffic:
    """Loads of all channels' depth where a word holds neighbouring channels of one k."""
    depth, (tiles, rest) = layout.runs * layout.run, divmod(layout.channels, m)
    words = tiles * -(-m // layout.filter_values) + -(-rest // layout.filter_values)
    moved = words * layout.filter_values
    return Traffic(depth * words, depth * moved * layout.filter_bytes)


def _moved(run: int, values: int) -> int:
    return -(-run // values) * values


def _stores(layout: Layout, m: int) -> Traffic:
    values = layout.output_values if m % layout.output_values == 0 else 1
    words, singles = divmod(layout.channels, values)
    moved = layout.rows * layout.channels * layout.input_bytes
    return Traffic((words + singles) * layout.rows, moved)
