"""SignalFilterBankSpectralSubtraction: less of what was there all the time."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """One channel after another; even and odd ones have constants of their own."""
    data = op.data
    nbytes = 4 * data.channels
    estimate = op.state("noise", nbytes, bytes(nbytes))
    kept = "noise = taken;" if data.clamping else ""
    body = f"""\
for (int c = 0; c < {data.channels}; c++) {{
    const uint64_t smoothing = {_either(data.smoothing)};
    const uint64_t other = {_either(data.one_minus_smoothing)};
    const uint32_t signal = input[c] << {data.smoothing_bits};
    uint32_t noise = (uint32_t)((signal * smoothing + state[c] * other) >> {data.bits});
    const uint32_t taken = noise < signal ? noise : signal;
    {kept}
    const uint64_t least = UINT64_C({data.min_signal_remaining});
    const uint32_t floor = (uint32_t)((input[c] * least) >> {data.bits});
    const uint32_t rest = (signal - taken) >> {data.smoothing_bits};
    state[c] = noise;
    estimate[c] = noise;
    output[c] = rest > floor ? rest : floor;
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("arena_uint32_t *", "state", estimate),
            parameter(op.output(0), "output", write=True),
            parameter(op.output(1), "estimate", write=True),
        ],
        body,
    )


def _either(pair: tuple[int, int]) -> str:
    even, odd = pair
    return f"c % 2 == 0 ? UINT64_C({even}) : UINT64_C({odd})"
