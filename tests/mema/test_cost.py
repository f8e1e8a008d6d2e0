"""Formulas against loop nests that count."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro.mema import nest
from refmicro.mema.cost import Order, Tile, accesses
from refmicro.mema.layout import Layout
from refmicro.mema.target import Target
from tests.mema.problems import layouts


@settings(max_examples=200, deadline=None)
@given(layouts(), st.sampled_from(Order), *(st.integers(1, 9) for _ in range(3)))
def test_formula_equals_count(
    case: tuple[Layout, Target], order: Order, m: int, n: int, k: int
) -> None:
    used, _ = case
    if used.vector and order is Order.OUTER:
        order = Order.OUTPUT  # vectors hold neighbours along the depth alone
    depth = used.runs * used.run
    random = np.random.default_rng(depth)
    inputs = random.integers(-9, 9, (used.rows, depth))
    filters = random.integers(-9, 9, (used.channels, depth))
    sums, counted = nest.run(used, order, Tile(m, n, k), inputs, filters)
    np.testing.assert_array_equal(sums, inputs @ filters.T)
    assert accesses(used, order, Tile(m, n, k)) == counted
