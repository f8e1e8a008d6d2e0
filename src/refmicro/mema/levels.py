"""Accesses by memory: what a kernel asks of SRAM and of flash, and when a copy to SRAM pays.

Inputs, outputs and partial sums lie in SRAM; constants lie in flash. A tile of channels may copy
its filter words to SRAM before its rows pass ("staged"), which takes m F words of scratch.

**When it pays.** With b passes over the rows, each filter word costs b loads from flash, (1 + w) b
cycles with w wait states. Staged it costs one load from flash, one store and b loads from SRAM,
(1 + w) + 1 + b cycles. So a copy pays exactly where b w > w + 2, whatever the sizes: never for a
matrix-vector product (b = 1) and never without wait states. The smallest tile of channels is enough
scratch, because rows pass inside of it; more capacity saves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.cost import Accesses, Tile
from refmicro.mema.layout import Layout
from refmicro.mema.target import Target


@dataclass(frozen=True)
class Levels:
    """Accesses by memory, and the scratch that a copy takes, in bytes."""

    sram_loads: int
    sram_stores: int
    flash_loads: int
    scratch_bytes: int = 0

    def cycles(self, target: Target) -> int:
        """Cycles of the accesses alone: one each, and flash's wait states."""
        waits = 1 + target.flash_wait_states
        return self.sram_loads + self.sram_stores + self.flash_loads * waits


def levels(used: Layout, tile: Tile, counted: Accesses, *, staged: bool = False) -> Levels:
    """Accesses of a product by memory; `counted` with the same `staged`.

    A filter that is an activation (`Layout.packed` is False) lies in SRAM like the input.
    """
    parameters = counted.bias_loads + counted.multiplier_loads + counted.shift_loads
    filters, copies = counted.filter_loads.count, counted.copy_loads.count
    sram = counted.input_loads.count + counted.partial_loads.count
    if not used.packed:
        return Levels(sram + filters + parameters.count, counted.stores.count, 0)
    if not staged:
        return Levels(sram, counted.stores.count, filters + parameters.count)
    width = used.filter_values * used.filter_bytes
    scratch = min(tile.m, used.channels) * used.filter_words * width
    return Levels(sram + filters, counted.stores.count, copies + parameters.count, scratch)


def staging_pays(passes: int, wait_states: int) -> bool:
    """Whether copying the filter to SRAM saves cycles: b w > w + 2."""
    return passes * wait_states > wait_states + 2
