"""The schedule with the fewest accesses, derived from what the registers hold.

**Stationary outputs.** A tile of m channels and n rows stays in registers over the whole depth.
With X input loads a row, F filter loads and P parameter loads a channel, it costs

    C(m, n) = ceil(M/m) N X + ceil(N/n) M (F + P) + stores,    q m n + held(m, n) <= R.

Ignoring the ceilings this is MN (X/m + (F + P)/n). Holding the rows' words, the constraint is
n (q m + r u) = R', so n = R' / (q m + r u), and

    d/dm [X/m + (F + P)(q m + r u)/R'] = 0    at    m* = sqrt(X R' / (q (F + P))),

with the channels' words held, symmetrically, n* = sqrt((F + P) R' / (q X)). The cheaper of both is
the **floor**: ceilings only add, and so no tile of this order loads less. Where words along the
depth feed both sides alike (F + P close to X) the tile is nearly square, and a product costs
about 2 / sqrt(R') loads of a word for each word of products; where there is one row, m takes all.

Whole tiles: C falls, or stays, as m or n grows, and the stores depend on m only through "whole
words or not". So the best tile is one that cannot grow: for a given n the largest m, or the largest
m of whole words. Those corners follow from the inequality by one division each
(`registers.most_channels`), fewer than 2 R of them, and the cheapest is the schedule; no other
tile is looked at.

**Stationary weights or inputs** keep k steps of the depth of one operand, and stream the other.
Where k covers the whole depth, no sum leaves the registers, and the largest m (or n) is again one
division. Where it does not, each further piece of the depth stores and loads MN sums. Then t >= 2
pieces make 2 (t - 1) >= t >= F/k accesses a sum, and the output-stationary tile with n = k rows
does the same with ceil(N/k) M F <= MNF/k + MF: it is never worse where it fits, and it needs no
buffer of 4 MN bytes. Schedules therefore keep sums in registers. (Where vectors hold the operands
and other registers the sums, pieces may save a few accesses; they would still need the buffer.)

Of tiles with the same cost, the narrowest is taken: it makes as many passes, leaves registers to
spare and a shorter kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from refmicro.errors import UnsupportedError
from refmicro.mema.cost import Accesses, Order, Tile, accesses
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.registers import (
    budget,
    most_channels,
    most_stationary,
    needed,
    parameters,
    ratio,
    stationary_needs,
    streams,
)
from refmicro.mema.target import Target


@dataclass(frozen=True)
class Schedule:
    """A loop order and a tile.

    Attributes:
        order: what stays in registers.
        tile: channels, rows and depth steps of one register tile.
        layout: how operands move.
        spare_registers: registers that the tile leaves.
        accesses: of one product.
        floor: no tile of any of the loop orders, whole or fractional, has fewer accesses.
    """

    order: Order
    tile: Tile
    layout: Layout
    spare_registers: int
    accesses: Accesses
    floor: int


def derive(problem: Matmul | Convolution, target: Target) -> Schedule:
    """The schedule of a problem with the fewest accesses on a target.

    Raises:
        UnsupportedError: if the target's registers hold no tile at all.
    """
    return best(target, layout(problem, target))


def best(target: Target, used: Layout) -> Schedule:
    """The same for a layout (see `layout.layout`).

    Raises:
        UnsupportedError: if the target's registers hold no tile at all.
    """
    return min(best_of_each_order(target, used), key=_preference)


def best_of_each_order(target: Target, used: Layout) -> tuple[Schedule, ...]:
    """The cheapest corner of every loop order that has one.

    Raises:
        UnsupportedError: if the target's registers hold no tile at all.
    """
    lowest = floor(target, used)
    found: dict[Order, Schedule] = {}
    for order, tile in _corners(target, used):
        spare = _spare(target, used, order, tile)
        new = Schedule(order, tile, used, spare, accesses(used, order, tile), lowest)
        found[order] = min(found.get(order, new), new, key=_preference)
    if not found:
        raise UnsupportedError(
            f"no schedule covers this product on {target.name}: its registers hold no tile",
            hint="sums of 64 bits take two registers; make them fit int32, or take another target",
        )
    return tuple(found.values())


def _preference(schedule: Schedule) -> tuple[int, int, int]:
    """Fewest accesses, then fewest bytes, then most registers to spare."""
    moved = schedule.accesses.loads + schedule.accesses.stores
    return moved.count, moved.bytes, -schedule.spare_registers


def _spare(target: Target, used: Layout, order: Order, tile: Tile) -> int:
    sums, operands = needed(target, used, order, tile)
    return budget(target) - sums - (0 if target.vector_bytes else operands)


def _corners(target: Target, used: Layout) -> Iterator[tuple[Order, Tile]]:
    """Tiles that cannot grow, of every order."""
    whole = used.steps
    for order in (Order.OUTPUT,) if used.vector else (Order.OUTPUT, Order.OUTER):
        for n in range(1, used.rows + 1):
            most = most_channels(target, used, order, n)
            if most == 0:
                break
            for m in _widths(used, most):
                yield order, Tile(m, _narrowest(used.rows, n), whole)
    for m in _widths(used, most_stationary(target, used, Order.WEIGHT, whole, 1)):
        yield Order.WEIGHT, Tile(m, 1, whole)
    for m in sorted({1, used.output_values}):
        n = most_stationary(target, used, Order.INPUT, whole, m)
        if n:
            yield Order.INPUT, Tile(m, _narrowest(used.rows, n), whole)


def _widths(used: Layout, most: int) -> Iterator[int]:
    """Widths of channels worth a look where at most `most` fit: any, and whole words."""
    if most == 0:
        return
    yield _narrowest(used.channels, most)
    words = most // used.output_values
    if used.output_values > 1 and words:
        yield used.output_values * _narrowest(-(-used.channels // used.output_values), words)


def _narrowest(size: int, most: int) -> int:
    """The smallest width that covers `size` in as many tiles as `most` does."""
    tiles = -(-size // most)
    return -(-size // tiles)


def floor(target: Target, used: Layout) -> int:
    """Accesses below which no tile of any order gets, fractional tiles included."""
    orders = (Order.OUTPUT, Order.WEIGHT, Order.INPUT)
    bounds = [_order_floor(target, used, order) for order in orders]
    if not used.vector:
        bounds.append(_order_floor(target, used, Order.OUTER))
    stores = used.rows * sum(divmod(used.channels, used.output_values))
    return math.ceil(min(bounds) - _ROUNDING) + stores


_ROUNDING = 1e-6
"""Doubles of some millions are exact to this."""


def _order_floor(target: Target, used: Layout, order: Order) -> float:
    """Loads of an order with fractional tiles, each operand at least once; infinite if none fit."""
    channels, rows = used.channels, used.rows
    inputs, depth = used.input_words, used.runs * used.run
    filters = used.filter_words + parameters(used)
    if order is Order.OUTER:
        inputs, filters = depth, depth / used.filter_values + parameters(used)
    if order in (Order.OUTPUT, Order.OUTER):
        square = channels * rows * _square(target, used, order, inputs, filters)
        return max(square, rows * inputs + channels * filters)
    if used.gathered:
        return math.inf
    words, sums = stationary_needs(target, used, order, used.steps, 0)
    room = budget(target) - (streams(used) if order is Order.INPUT else 0)
    if target.vector_bytes:
        most = min(room / sums, (target.vector_registers - target.operand_registers) / words)
    else:
        most = (room - target.operand_registers) / (words + sums)
    if most < 1:
        return math.inf
    if order is Order.WEIGHT:
        return rows * inputs * max(1.0, channels / most) + channels * filters
    return rows * inputs + channels * filters * max(1.0, rows / most)


def _square(target: Target, used: Layout, order: Order, inputs: float, filters: float) -> float:
    """Least inputs/m + filters/n of the tiles that fit, a product."""
    q, held, room = used.sum_words, target.operand_registers, budget(target)
    if target.vector_bytes:
        return 2 * math.sqrt(inputs * filters * q / room)
    rows_held = held * (ratio(used) if order is Order.OUTPUT else 1)
    channels_held = held / (1 if order is Order.OUTPUT else used.filter_values)
    return min(
        _fractional(inputs, filters, q, rows_held, room - held),
        _fractional(filters, inputs, q, channels_held, room - held),
    )


def _fractional(first: float, second: float, q: int, held: float, room: int) -> float:
    """Least first/m + second/n where n (q m + held) = room."""
    return 2 * math.sqrt(first * second * q / room) + second * held / room
