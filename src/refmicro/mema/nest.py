"""The loop nests themselves: they multiply, and count each load and store as they go.

This is the reference for `cost`: it knows no formula. Registers are dictionaries; whatever enters
one from memory is counted word by word. Sums it computes are checked against a plain product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

import numpy as np

from refmicro.mema.cost import Accesses, Order, Tile, Traffic
from refmicro.mema.layout import Layout

Word = tuple[int, ...]
"""Positions along the depth that one load brings; a position may come twice."""


@dataclass
class Counter:
    """Counts of a nest while it runs, by the names of `Accesses`."""

    seen: dict[str, list[int]] = field(
        default_factory=lambda: {f.name: [0, 0] for f in fields(Accesses)}
    )

    def access(self, kind: str, nbytes: int) -> None:
        """One load or store of `nbytes`."""
        self.seen[kind][0] += 1
        self.seen[kind][1] += nbytes

    def accesses(self) -> Accesses:
        """What was counted so far."""
        return Accesses(**{kind: Traffic(*counted) for kind, counted in self.seen.items()})


def run(
    layout: Layout,
    order: Order,
    tile: Tile,
    inputs: np.ndarray,
    filters: np.ndarray,
    *,
    staged: bool = False,
) -> tuple[np.ndarray, Accesses]:
    """Sums (N, M) of inputs (N, K) and filters (M, K), and what was loaded and stored on the way.

    K values lie in runs as `layout` says; bias, multiplier and shift are loaded and not applied.
    """
    nests = {Order.OUTPUT: _output, Order.OUTER: _outer, Order.WEIGHT: _weight, Order.INPUT: _input}
    counter = Counter()
    sums = np.zeros((layout.rows, layout.channels), np.int64)
    machine = _Machine(layout, counter, inputs, filters, sums)
    if staged:
        for channels in _blocks(layout.channels, tile.m):
            machine.copy(channels)
    nests[order](machine, tile)
    return sums, counter.accesses()


@dataclass
class _Machine:
    """Memory with counted loads and stores."""

    layout: Layout
    counter: Counter
    inputs: np.ndarray
    filters: np.ndarray
    sums: np.ndarray

    def steps(self) -> list[tuple[Word, list[Word]]]:
        """(new positions, input words) of each step of the depth: one filter word each."""
        used, found = self.layout, []
        for start in range(0, used.runs * used.run, used.run):
            words = list(_words(used, start))
            for first in range(0, used.run, used.filter_values):
                positions = range(first, min(first + used.filter_values, used.run))
                new = tuple(start + position for position in positions)
                found.append((new, [word for word in words if word[1] in new]))
        return [(new, [word for word, _ in words]) for new, words in found]

    def copy(self, channels: range) -> None:
        """Filter words of a tile from flash to SRAM."""
        used = self.layout
        for _ in channels:
            for new, _ in self.steps():
                values = len(new) if used.vector else used.filter_values
                self.counter.access("copy_loads", values * used.filter_bytes)
                self.counter.access("copy_stores", values * used.filter_bytes)

    def load_inputs(self, row: int, words: list[Word]) -> dict[int, int]:
        """Values of a row by position."""
        register = {}
        for word in words:
            cut = self.layout.input_bytes * len(word)
            self.counter.access("input_loads", cut)
            register |= {position: int(self.inputs[row, position]) for position in word}
        return register

    def load_filter(self, channel: int, positions: Word) -> dict[int, int]:
        """Values of a channel by position."""
        used = self.layout
        values = len(positions) if used.vector else used.filter_values
        self.counter.access("filter_loads", values * used.filter_bytes)
        return {position: int(self.filters[channel, position]) for position in positions}

    def load_bias(self) -> None:
        """One channel's bias."""
        for _ in range(self.layout.bias_words):
            self.counter.access("bias_loads", 4)

    def load_scales(self) -> None:
        """One channel's multiplier and shift."""
        if self.layout.scaled:
            self.counter.access("multiplier_loads", 4)
            self.counter.access("shift_loads", 1)

    @contextmanager
    def partial(self, first: bool, last: bool) -> Iterator[None]:
        """A sum comes from memory unless it starts here, and goes back unless it ends here."""
        for _ in range(0 if first else self.layout.sum_words):
            self.counter.access("partial_loads", 4)
        yield
        for _ in range(0 if last else self.layout.sum_words):
            self.counter.access("partial_stores", 4)

    def store(self, row: int, values: dict[int, int], whole: bool) -> None:
        """Outputs of neighbouring channels of a row; as words where tiles hold whole words."""
        used, channels = self.layout, sorted(values)
        while channels:
            width = used.output_values if whole and len(channels) >= used.output_values else 1
            self.counter.access("output_stores", width * used.input_bytes)
            for channel in channels[:width]:
                self.sums[row, channel] = values[channel]
            del channels[:width]


def _words(used: Layout, start: int) -> Iterator[tuple[Word, int]]:
    """(positions, first new position) of each input load of a run; the last may overlap."""
    run, values = used.run, used.input_values
    for first in range(0, run, values):
        begin = first if used.vector else min(first, run - values)
        positions = range(begin, min(begin + values, run))
        yield tuple(start + position for position in positions), start + first


def _blocks(size: int, width: int) -> Iterator[range]:
    for start in range(0, size, width):
        yield range(start, min(start + width, size))


def _add(sums: dict, key: tuple[int, int], x: dict[int, int], f: dict[int, int]) -> None:
    sums[key] += sum(x[position] * value for position, value in f.items())


def _output(machine: _Machine, tile: Tile) -> None:
    used = machine.layout
    for channels in _blocks(used.channels, tile.m):
        for rows in _blocks(used.rows, tile.n):
            sums = {(row, channel): 0 for row in rows for channel in channels}
            for _ in channels:
                machine.load_bias()
            for new, words in machine.steps():
                xs = {row: machine.load_inputs(row, words) for row in rows}
                for channel in channels:
                    f = machine.load_filter(channel, new)
                    for row in rows:
                        _add(sums, (row, channel), xs[row], f)
            _finish(machine, tile, rows, channels, sums)


def _finish(machine: _Machine, tile: Tile, rows: range, channels: range, sums: dict) -> None:
    for _ in channels:
        machine.load_scales()
    for row in rows:
        _store(machine, tile, row, channels, sums)


def _store(machine: _Machine, tile: Tile, row: int, channels: range, sums: dict) -> None:
    whole = tile.m % machine.layout.output_values == 0
    machine.store(row, {channel: sums[row, channel] for channel in channels}, whole)


def _outer(machine: _Machine, tile: Tile) -> None:
    used = machine.layout
    for channels in _blocks(used.channels, tile.m):
        for rows in _blocks(used.rows, tile.n):
            sums = {(row, channel): 0 for row in rows for channel in channels}
            for _ in channels:
                machine.load_bias()
            for position in range(used.runs * used.run):
                xs = {row: machine.load_inputs(row, [(position,)]) for row in rows}
                for word in _blocks(len(channels), used.filter_values):
                    machine.counter.access("filter_loads", used.filter_values * used.filter_bytes)
                    for channel in channels[word.start : word.stop]:
                        f = {position: int(machine.filters[channel, position])}
                        for row in rows:
                            _add(sums, (row, channel), xs[row], f)
            _finish(machine, tile, rows, channels, sums)


def _weight(machine: _Machine, tile: Tile) -> None:
    used, steps = machine.layout, machine.steps()
    for channels in _blocks(used.channels, tile.m):
        sums = {(row, channel): 0 for row in range(used.rows) for channel in channels}
        for piece in _blocks(len(steps), tile.k):
            first, last = piece.start == 0, piece.stop == len(steps)
            held = {}
            for channel in channels:
                held[channel] = [machine.load_filter(channel, steps[i][0]) for i in piece]
                if first:
                    machine.load_bias()
                if last:
                    machine.load_scales()
            for row in range(used.rows):
                xs = [machine.load_inputs(row, steps[i][1]) for i in piece]
                for channel in channels:
                    with machine.partial(first, last):
                        for x, f in zip(xs, held[channel], strict=True):
                            _add(sums, (row, channel), x, f)
                if last:
                    _store(machine, tile, row, channels, sums)


def _input(machine: _Machine, tile: Tile) -> None:
    used, steps = machine.layout, machine.steps()
    for rows in _blocks(used.rows, tile.n):
        sums = {(row, channel): 0 for row in rows for channel in range(used.channels)}
        for piece in _blocks(len(steps), tile.k):
            first, last = piece.start == 0, piece.stop == len(steps)
            held = {row: [machine.load_inputs(row, steps[i][1]) for i in piece] for row in rows}
            for channels in _blocks(used.channels, tile.m):
                for channel in channels:
                    if first:
                        machine.load_bias()
                    if last:
                        machine.load_scales()
                    fs = [machine.load_filter(channel, steps[i][0]) for i in piece]
                    for row in rows:
                        with machine.partial(first, last):
                            for x, f in zip(held[row], fs, strict=True):
                                _add(sums, (row, channel), x, f)
                for row in rows if last else ():
                    _store(machine, tile, row, channels, sums)
