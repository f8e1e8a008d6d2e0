"""CIRCULAR_BUFFER: the output, a variable tensor, moves up by a slot; the input is the last one."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One step, where every invocation goes on."""
    data = op.data
    if data.cycles_max != 1:
        op.refuse(f"ends {data.cycles_max - 1} of {data.cycles_max} invocations")
    moved = (data.slots - 1) * data.depth
    body = f"""\
for (int i = 0; i < {moved}; i++) {{
    output[i] = output[i + {data.depth}];
}}
for (int i = 0; i < {data.depth}; i++) {{
    output[{moved} + i] = input[i];
}}"""
    op.kernel([parameter(op.input(0), "input"), parameter(op.output(), "output", write=True)], body)
