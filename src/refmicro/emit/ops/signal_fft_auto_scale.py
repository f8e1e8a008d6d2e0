"""SignalFftAutoScale: a frame shifted to the left as far as its largest magnitude allows."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """The largest magnitude as C++ finds it, which takes 32768 for -32768; then the shift."""
    length = op.data
    body = f"""\
int32_t largest = 0;
for (int i = 0; i < {length}; i++) {{
    if (input[i] > largest) {{
        largest = input[i];
    }} else if (-input[i] > largest) {{
        largest = input[i] > -32768 ? -input[i] : -32768;
    }}
}}
const int zeros = leading_zeros((uint32_t)largest);
const int bits = largest != 0 && zeros > 17 ? zeros - 17 : 0;
for (int i = 0; i < {length}; i++) {{
    output[i] = (int16_t)((uint32_t)input[i] << bits);
}}
scale_bits[0] = bits;"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            parameter(op.output(0), "output", write=True),
            parameter(op.output(1), "scale_bits", write=True),
        ],
        body,
    )
