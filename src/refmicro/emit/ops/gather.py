"""GATHER: rows by positions; positions that the graph computes are kept inside the axis."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output[b, o, c, i] = input[b, o, positions[b, c], i]."""
    groups, outer, size, inner = op.data.input_shape
    count = op.data.coordinates
    position = f"positions[b * {count} + c]"
    if op.data.computed_positions:
        position = f"clamp({position}, 0, {size - 1})"
    body = f"""\
for (int b = 0; b < {groups}; b++) {{
    for (int o = 0; o < {outer}; o++) {{
        for (int c = 0; c < {count}; c++) {{
            const int32_t from = (b * {outer} + o) * {size} + {position};
            const int32_t to = (b * {outer} + o) * {count} + c;
            for (int i = 0; i < {inner}; i++) {{
                output[to * {inner} + i] = input[from * {inner} + i];
            }}
        }}
    }}
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            parameter(op.input(1), "positions"),
            parameter(op.output(), "output", write=True),
        ],
        body,
    )
