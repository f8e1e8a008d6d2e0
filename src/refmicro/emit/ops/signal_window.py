"""SignalWindow: output = input * weights >> shift, saturated."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One window after another."""
    data, output = op.data, op.output()
    count, length = output.tensor.elements // data.length, data.length
    body = f"""\
for (int n = 0; n < {count}; n++) {{
    for (int i = 0; i < {length}; i++) {{
        const int32_t value = (input[n * {length} + i] * weights[i]) >> {data.shift};
        output[n * {length} + i] = (int16_t)clamp(value, -32768, 32767);
    }}
}}"""
    parameters = [parameter(op.input(0), "input"), parameter(op.input(1), "weights")]
    op.kernel([*parameters, parameter(output, "output", write=True)], body)
