"""The derived schedule against all tiles that fit."""

from __future__ import annotations

from hypothesis import given, settings

from refmicro.mema.cost import Order, Tile, accesses
from refmicro.mema.layout import Layout
from refmicro.mema.registers import budget, fits
from refmicro.mema.schedule import best, floor
from refmicro.mema.target import Target
from tests.mema.problems import layouts

STATIONARY = (Order.WEIGHT, Order.INPUT)


def every_tile(target: Target, used: Layout) -> list[tuple[Order, Tile]]:
    """All tiles that fit, pieces of the depth included."""
    most = budget(target) + target.vector_registers
    return [
        (order, Tile(m, n, k))
        for order in Order
        if not (used.vector and order is Order.OUTER)
        for m in range(1, most + 1)
        for n in range(1, most + 1)
        for k in (range(1, used.steps + 1) if order in STATIONARY else (used.steps,))
        if (order is not Order.WEIGHT or n == 1)
        and (order is not Order.INPUT or m in (1, used.output_values))
        and fits(target, used, order, Tile(m, n, k))
    ]


@settings(max_examples=400, deadline=None)
@given(layouts())
def test_no_tile_is_better(case: tuple[Layout, Target]) -> None:
    used, target = case
    derived = best(target, used)
    assert fits(target, used, derived.order, derived.tile)
    assert accesses(used, derived.order, derived.tile) == derived.accesses
    every = every_tile(target, used)
    if target.vector_bytes:
        # Sums and operands have registers of their own there, so that pieces of the depth may win;
        # kernels have no buffer for partial sums.
        every = [item for item in every if item[1].k == used.steps]
    least = min(accesses(used, *item).count for item in every)
    assert derived.accesses.count == least
    assert derived.floor == floor(target, used) <= least
