"""SignalFramer: overlapping frames of a stream; a buffer keeps what the next ones need."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Step by step; the buffer holds its samples at its end, `held` of them count."""
    data = op.data
    nbytes = 2 * data.streams * data.capacity
    buffer = op.state("samples", nbytes, bytes(nbytes))
    first = data.size - data.step if data.prefill else 0
    held = op.state("held", 4, first.to_bytes(4, "little", signed=True))
    capacity, step, size = data.capacity, data.step, data.size
    body = f"""\
valid[0] = 1;
for (int t = 0; t < {data.frames}; t++) {{
    held[0] += {step};
    const int complete = held[0] >= {size};
    for (int s = 0; s < {data.streams}; s++) {{
        arena_int16_t *samples = buffer + s * {capacity};
        for (int i = 0; i < {capacity - step}; i++) {{
            samples[i] = samples[i + {step}];
        }}
        for (int i = 0; i < {step}; i++) {{
            samples[{capacity - step} + i] = input[(s * {data.frames} + t) * {step} + i];
        }}
        const arena_int16_t *from = complete ? samples + {capacity} - held[0] : samples;
        arena_int16_t *frame = output + (s * {data.frames} + t) * {size};
        for (int i = 0; i < {size}; i++) {{
            frame[i] = (int16_t)(complete ? from[i] : 0);
        }}
    }}
    if (complete) {{
        held[0] -= {step};
    }} else {{
        valid[0] = 0;
    }}
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
