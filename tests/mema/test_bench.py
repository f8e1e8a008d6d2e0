"""`benchmarks/mema_bench.py` on small shapes: it measures what it says, and its page is whole."""

from __future__ import annotations

import numpy as np

from benchmarks.mema_bench import Memory, make_cases, measure, summarize
from benchmarks.mema_page import page
from tests.mema.on_board import needs_board

SHAPES = ((5, 9, 3), (4, 8, 1))
BASELINE = {"source": "a test", "rows": [[5, 9, 3, 4000, 800, 3000, 600], [4, 8, 1, 9, 8, 7, 6]]}


@needs_board("cortex-m4")
def test_kernels_side_by_side() -> None:
    raw = np.random.default_rng(1).integers(0, 256, 100, np.uint8)
    memory, cases, text = Memory(), [], []
    for bits in (8, 16):
        for shape in SHAPES:
            more, lines = make_cases(shape, bits, memory, raw.view(f"int{bits}"))
            cases += more
            text += lines
    rows = measure(cases, text, memory, raw)  # compares outputs and counts
    assert [row["kind"] for row in rows] == ["fc", "conv", "plain", "two_by_two"] * 4
    macs = [5 * 9 * 3] * 4 + [4 * 8] * 4
    for row, products in zip(rows, macs * 2, strict=True):
        reads = row["by_region"]["filter"] + row["by_region"]["input"]
        assert reads >= products / 4
        if row["kind"] == "plain":
            assert reads > 2 * products
    table = summarize(rows, BASELINE)
    assert [(row["bits"], *row["shape"]) for row in table] == [
        (bits, *shape) for bits in (8, 16) for shape in SHAPES
    ]
    written = page(table, BASELINE)
    assert "| 5, 9, 3 |" in written
    assert f"{rows[0]['instructions']:,}" in written
