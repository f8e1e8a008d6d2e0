"""SignalFilterBank: weighted sums of energies, each channel's rest going to the next one."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One channel more than there are outputs, the first for its rest alone."""
    data = op.data
    count = data.outputs + 1
    widths = data.inside.sum(axis=1)[:count]
    layout = np.stack([data.frequencies[:count, 0], data.weights[:count, 0], widths], axis=1)
    layout[widths == 0] = 0
    body = f"""\
uint64_t rest = 0;
for (int c = 0; c < {count}; c++) {{
    const int16_t *channel = layout + 3 * c;
    uint64_t sum = 0;
    uint64_t next = 0;
    for (int i = 0; i < channel[2]; i++) {{
        const uint64_t energy = input[channel[0] + i];
        sum += energy * (uint64_t)(int64_t)weights[channel[1] + i];
        next += energy * (uint64_t)(int64_t)unweights[channel[1] + i];
    }}
    if (c > 0) {{
        output[c - 1] = sum + rest;
    }}
    rest = next;
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            parameter(op.input(1), "weights"),
            parameter(op.input(2), "unweights"),
            ("const int16_t *", "layout", op.constant("layout", layout.astype(np.int16))),
            parameter(op.output(), "output", write=True),
        ],
        body,
    )
