"""SignalRfft of int16: KISS FFT's steps, one function a factor, tables of roots."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op
from refmicro.types import DType


def emit(op: Op) -> None:
    """Frames one after another, padded with zeros."""
    data = op.data
    if data.dtype is not DType.INT16:
        op.refuse(f"transforms {data.dtype}")
    fft = data.fft
    half = fft.half
    tables = {
        "order": fft.order.astype(np.uint16),
        "roots": _pairs(fft.twiddles),
        "turns": _pairs(fft.super_twiddles),
    }
    stages, inner, outer = [], 1, half
    for factor in reversed(fft.factors):
        outer //= factor
        stages.append(f"fft_by_{factor}(z, roots, {inner}, {outer});")
        inner *= factor
    size = 2 * (half + 1)
    body = f"""\
for (int n = 0; n < {data.frames}; n++) {{
    for (int i = 0; i < {half}; i++) {{
        const int from = 2 * order[i];
        z[2 * i] = {_sample(data, "from")};
        z[2 * i + 1] = {_sample(data, "from + 1")};
    }}
{chr(10).join("    " + stage for stage in stages)}
    fft_separated(z, turns, output + n * {size}, {half});
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("const uint16_t *", "order", op.constant("order", tables["order"])),
            ("const int16_t *", "roots", op.constant("roots", tables["roots"])),
            ("const int16_t *", "turns", op.constant("turns", tables["turns"])),
            ("arena_int16_t *", "z", op.scratch(4 * half)),
            parameter(op.output(), "output", write=True),
        ],
        body,
    )


def _sample(data, index: str) -> str:
    value = f"input[n * {data.samples} + {index}]"
    if data.samples == data.length:
        return value
    return f"(int16_t)({index} < {data.samples} ? {value} : 0)"


def _pairs(values: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack(values, axis=1).astype(np.int16)
