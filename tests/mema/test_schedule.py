"""The derived schedule against all tiles that fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from refmicro.mema.cost import Order, Tile, accesses
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Matmul
from refmicro.mema.registers import budget, fits
from refmicro.mema.schedule import best, derive, floor
from refmicro.mema.target import TARGETS, Target, find_target
from tests.mema.problems import layouts, matmuls, targets

LAYERS = (
    (16, 27, 1024),
    (32, 144, 256),
    (64, 576, 64),
    (64, 40, 122),
    (8, 27, 2304),
    (16, 8, 2304),
    (64, 64, 144),
    (256, 128, 9),
    (256, 64, 1),
    (36, 128, 1),
    (256, 64, 4),
)
"""(M, K, N) of convolutional networks, and of a Mamba's frame."""

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
        for k in (range(1, min(used.steps, most) + 1) if order in STATIONARY else (used.steps,))
        if (order is not Order.WEIGHT or n == 1)
        and (order is not Order.INPUT or m in (1, used.output_values))
        and fits(target, used, order, Tile(m, n, k))
    ]


def check(target: Target, used: Layout) -> None:
    """The derived schedule is among the best of all tiles, and none is below the floor."""
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


@settings(max_examples=200, deadline=None)
@given(layouts())
def test_no_tile_is_better(case: tuple[Layout, Target]) -> None:
    check(case[1], case[0])


@settings(max_examples=100, deadline=None)
@given(matmuls((400, 700, 3000)), targets)
def test_no_tile_is_better_for_large_products(problem: Matmul, target: Target) -> None:
    check(target, layout(problem, target))


@pytest.mark.parametrize("sizes", LAYERS)
def test_no_tile_is_better_for_layers_of_networks(sizes: tuple[int, int, int]) -> None:
    for target in TARGETS.values():
        check(target, layout(Matmul(*sizes), target))


def test_a_tile_of_the_m4_is_four_by_four() -> None:
    """Where the depth is long, both operands count alike, and the tile is square."""
    derived = derive(Matmul(64, 576, 64), find_target("cortex-m4"))
    assert (derived.order, derived.tile.m, derived.tile.n) == (Order.OUTPUT, 4, 4)


def test_one_row_gives_all_registers_to_channels() -> None:
    derived = derive(Matmul(256, 64, 1), find_target("cortex-m3"))
    assert (derived.tile.m, derived.tile.n) == (7, 1)
    # A word of weights for four products, and parameters and outputs on top of it.
    assert derived.accesses.filter_loads.count == 256 * 64 // 4
