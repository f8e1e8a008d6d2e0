"""SignalStacker: frames side by side, every few of them."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """The first frame stands for those before it too; `held` is below 0 until it comes."""
    data = op.data
    buffer = op.state("values", 2 * data.size, bytes(2 * data.size))
    held = op.state("held", 4, (-1).to_bytes(4, "little", signed=True))
    channels, size = data.channels, data.size
    repeated = channels * (data.left + 1)
    body = f"""\
for (int i = 0; i < {size - channels}; i++) {{
    buffer[i] = buffer[i + {channels}];
}}
for (int i = 0; i < {channels}; i++) {{
    buffer[{size - channels} + i] = input[i];
}}
if (held[0] < 0) {{
    for (int i = 0; i < {repeated}; i++) {{
        buffer[{size - repeated} + i] = input[i % {channels}];
    }}
    held[0] = {repeated};
}} else {{
    held[0] += {channels};
}}
const int complete = held[0] >= {size};
for (int i = 0; i < {size}; i++) {{
    output[i] = (int16_t)(complete ? buffer[i] : 0);
}}
valid[0] = (uint8_t)complete;
if (complete) {{
    held[0] -= {data.step};
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("arena_int16_t *", "buffer", buffer),
            ("arena_int32_t *", "held", held),
            parameter(op.output(0), "output", write=True),
            parameter(op.output(1), "valid", write=True),
        ],
        body,
    )
