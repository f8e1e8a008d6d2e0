"""SignalPCAN: per-channel gain by the noise estimate, then compression."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = f(x * gain(noise))."""
    data = op.data
    body = f"""\
for (int i = 0; i < {data.channels}; i++) {{
    const uint32_t gain = (uint32_t)wide_function(noise[i], lut);
    const uint32_t snr = (uint32_t)(((uint64_t)input[i] * gain) >> {data.snr_shift});
    output[i] = snr < 8192 ? (snr * snr) >> 20 : (snr >> 6) - 64;
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            parameter(op.input(1), "noise"),
            parameter(op.input(2), "lut"),
            parameter(op.output(), "output", write=True),
        ],
        body,
    )
