"""SignalEnergy: squared magnitudes of complex values."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Zeros outside of the range that the options name."""
    start, end, size = op.data
    body = f"""\
for (int i = 0; i < {size}; i++) {{
    uint32_t energy = 0;
    if (i >= {start} && i < {end}) {{
        const int32_t re = input[2 * i];
        const int32_t im = input[2 * i + 1];
        energy = (uint32_t)(re * re) + (uint32_t)(im * im);
    }}
    output[i] = energy;
}}"""
    op.kernel([parameter(op.input(0), "input"), parameter(op.output(), "output", write=True)], body)
