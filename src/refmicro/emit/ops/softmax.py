"""SOFTMAX: int8 by a table of exponentials and TFLM's reciprocal, int16 by TFLM's two tables."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._scale import scaled
from refmicro.emit.unit import Op
from refmicro.ops.softmax import _luts
from refmicro.types import DType


def emit(op: Op) -> None:
    """output = e^(beta * (x - max)) / sum of these, row by row."""
    if op.data.input is DType.INT8:
        _emit_int8(op)
    elif op.data.input is DType.INT16:
        _emit_int16(op)
    else:
        op.refuse("is float32")


def _emit_int8(op: Op) -> None:
    data, output = op.data, op.output()
    bits = 8 * output.tensor.dtype.numpy.itemsize
    most = 512 if bits == 8 else 8192
    if data.depth >= most:
        op.refuse(f"has rows of {data.depth} values, whose exponentials may sum to {most}")
    table = op.constant("exponentials", data.exponentials.astype(np.int32))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    rows = output.tensor.elements // data.depth
    # The sum's power of two is at least that of the largest exponential, which is 1.
    body = f"""\
for (int row = 0; row < {rows}; row++) {{
    const int8_t *x = input + row * {data.depth};
    int32_t largest = -128;
    for (int i = 0; i < {data.depth}; i++) {{
        largest = x[i] > largest ? x[i] : largest;
    }}
    uint32_t total = 0;
    for (int i = 0; i < {data.depth}; i++) {{
        const int32_t power = exponentials[largest - x[i]];
        total += power >= 0 ? ((uint32_t)power + 2048) >> 12 : 0;
    }}
    const int zeros = leading_zeros(total);
    const int32_t scale = one_over_one_plus((int32_t)((total << zeros) - (UINT32_C(1) << 31)));
    const int exponent = 12 - zeros + {31 - bits};
    for (int i = 0; i < {data.depth}; i++) {{
        const int32_t power = exponentials[largest - x[i]];
        int32_t result = {low};
        if (power >= 0) {{
            result = divided(signed_doubled_high(scale, power), exponent) + {low};
        }}
        output[row * {data.depth} + i] = ({output.c_type})clamp(result, {low}, {high});
    }}
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("const int32_t *", "exponentials", table),
            parameter(output, "output", write=True),
        ],
        body,
    )


def _emit_int16(op: Op) -> None:
    data, output = op.data, op.output()
    powers, reciprocals = (
        op.unit.constant(f"softmax_{name}", table.astype(np.int16))
        for name, table in zip(("powers", "reciprocals"), _luts(), strict=True)
    )
    rows = output.tensor.elements // data.depth
    difference = scaled(op, "x[i] - largest", data.multiplier, data.shift, bound=1 << 16)
    body = f"""\
for (int row = 0; row < {rows}; row++) {{
    const arena_int16_t *x = input + row * {data.depth};
    arena_int16_t *y = output + row * {data.depth};
    int32_t largest = -32768;
    for (int i = 0; i < {data.depth}; i++) {{
        largest = x[i] > largest ? x[i] : largest;
    }}
    int32_t total = 0;
    for (int i = 0; i < {data.depth}; i++) {{
        const int32_t scaled_down = {difference} + 32767;
        y[i] = (int16_t)interpolated(clamp(scaled_down, -32768, 32767), powers);
        total += y[i];
    }}
    const int headroom = leading_zeros((uint32_t)total) - 1;
    const int32_t reduced = (int32_t)((((int64_t)total << headroom) + 8192) >> 14) - 98304;
    const int32_t reciprocal = interpolated(clamp(reduced, -32768, 32767), reciprocals);
    const int shift = 30 - headroom;
    for (int i = 0; i < {data.depth}; i++) {{
        const int32_t result = (y[i] * reciprocal + (1 << (shift - 1))) >> shift;
        y[i] = (int16_t)clamp(result, 0, 32767);
    }}
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("const int16_t *", "powers", powers),
            ("const int16_t *", "reciprocals", reciprocals),
            parameter(output, "output", write=True),
        ],
        body,
    )
