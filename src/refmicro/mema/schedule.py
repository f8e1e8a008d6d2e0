"""The schedule with the fewest accesses."""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.cost import Accesses, Order, Tile, accesses
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Convolution, Matmul
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
    """

    order: Order
    tile: Tile
    layout: Layout
    spare_registers: int
    accesses: Accesses


def derive(problem: Matmul | Convolution, target: Target, *, of: Layout | None = None) -> Schedule:
    """The best schedule of a problem on a target."""
    found = of or layout(problem, target)
    tile = Tile(2, 2, found.steps)
    return Schedule(Order.OUTPUT, tile, found, 0, accesses(found, Order.OUTPUT, tile))
