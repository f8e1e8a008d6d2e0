"""L2_NORMALIZATION of int8: each row by TFLM's reciprocal square root in 32-bit fixed point."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op

_MAX_DEPTH = (1 << 31) // (255 * 255)
"""Values of a row whose squares an int32 sums for certain."""


def emit(op: Op) -> None:
    """output = x / sqrt(sum of x^2), row by row."""
    data, output = op.data, op.output()
    if data.zero_point is None:
        op.refuse("is float32")
    if data.depth > _MAX_DEPTH:
        op.refuse(f"has rows of {data.depth} values, whose squares may not fit int32")
    rows = output.tensor.elements // data.depth
    value = f"(x[i] - ({data.zero_point}))" if data.zero_point else "x[i]"
    # Newton's iteration for 1 / sqrt(total), `total` scaled by a power of four to [1/4, 1).
    body = f"""\
for (int row = 0; row < {rows}; row++) {{
    const int8_t *x = input + row * {data.depth};
    int32_t total = 0;
    for (int i = 0; i < {data.depth}; i++) {{
        total += {value} * {value};
    }}
    int32_t inverse = INT32_MAX;
    int shift = 0;
    if (total > 1) {{
        shift = 11;
        while (total >= 536870912) {{
            total >>= 2;
            shift++;
        }}
        const int pairs = (leading_zeros((uint32_t)total) - 1) / 2 - 1;
        shift -= pairs;
        const int32_t quarter = divided((total << (2 * pairs)) >> 1, 1);
        inverse = 268435456;
        for (int step = 0; step < 5; step++) {{
            const int32_t square = signed_doubled_high(inverse, inverse);
            const int32_t cube = saturated_shift(signed_doubled_high(square, inverse), 6);
            const int32_t more = signed_doubled_high(402653184, inverse);
            inverse = saturated_shift(more - signed_doubled_high(quarter, cube), 3);
        }}
        inverse = signed_doubled_high(inverse, 1518500250);
        if (shift < 0) {{
            inverse <<= -shift;
            shift = 0;
        }}
    }}
    for (int i = 0; i < {data.depth}; i++) {{
        const int32_t unit = rescaled({value}, inverse, 7 - shift);
        output[row * {data.depth} + i] = ({output.c_type})saturated_int8(unit);
    }}
}}"""
    op.kernel([parameter(op.input(0), "input"), parameter(output, "output", write=True)], body)
