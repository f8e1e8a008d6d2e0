"""SignalFilterBankSpectralSubtraction, a custom operator: takes a running estimate of noise away.

With s and r the smoothing of a channel and its rest to 1, alternate ones in odd channels, and
bits = spectral_subtraction_bits, in unsigned integers of 32 bits but for the products:
    signal = input << smoothing_bits
    noise = (signal * s + noise * r) >> bits
    output = max((signal - min(noise, signal)) >> smoothing_bits,
                 (input * min_signal_remaining) >> bits)
With `clamping` the estimate is kept at most as high as the signal.

Shapes: input, output and noise estimate are vectors of num_channels values.
Quantization: uint32.
Persistent: 44 bytes (56 with 8-byte pointers); 4 * num_channels. State: the estimate, zero after
`Reset`.
Options: `alternate_one_minus_smoothing`, `alternate_smoothing`, `clamping`, `min_signal_remaining`,
`num_channels`, `one_minus_smoothing`, `smoothing`, `smoothing_bits`, `spectral_subtraction_bits`.
Differs: vectors of other lengths are refused; TFLM would read and write past their ends.
Source: `signal/micro/kernels/filter_bank_spectral_subtraction.cc`,
`signal/src/filter_bank_spectral_subtraction.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, Node, OpSpec, PrepareContext, Step
from refmicro.types import Abi, DType, TflmBuild

_NUM_CHANNELS = 4


@dataclass(frozen=True)
class SpectralSubtraction:
    """Options; smoothing and its rest for even and odd channels."""

    channels: int
    smoothing: tuple[int, int]
    one_minus_smoothing: tuple[int, int]
    min_signal_remaining: int
    smoothing_bits: int
    bits: int
    clamping: bool

    @cached_property
    def numbers(self) -> np.ndarray:
        """What the kernel takes: smoothing and rest of channels, then of all channels together."""
        smoothing = self.smoothing, self.one_minus_smoothing
        factors = [np.resize(np.array(pair, np.uint64), self.channels) for pair in smoothing]
        others = self.min_signal_remaining, self.smoothing_bits, self.bits, self.clamping
        return np.concatenate([*factors, np.array(others, np.uint64)])


def prepare(ctx: PrepareContext) -> SpectralSubtraction:
    """Check types and sizes, read the options as unsigned 32-bit numbers."""
    _signal.require_count(ctx, (1, 2))
    tensors = ctx.input(0), ctx.output(0), ctx.output(1)
    options = _signal.options_at(ctx, *range(9))
    other_rest, other, clamping, remaining, channels, rest, smoothing, up, bits = options
    for what, tensor in zip(("input", "output", "noise estimate"), tensors, strict=True):
        _signal.require_tensor(ctx, what, tensor, DType.UINT32, 1)
        ctx.require_shape(
            tensor.elements == channels, f"{what} must hold {channels} values", tensor.elements
        )
    _signal.require_shift(ctx, "smoothing_bits", up, 32)
    _signal.require_shift(ctx, "spectral_subtraction_bits", bits, 64)
    return SpectralSubtraction(
        channels,
        (smoothing % 2**32, other % 2**32),
        (rest % 2**32, other_rest % 2**32),
        remaining % 2**32,
        up,
        bits,
        clamping != 0,
    )


def evaluate(ctx: EvalContext, data: SpectralSubtraction) -> None:
    """All channels."""
    kept = ctx.read_state()[0].copy()
    out, estimate = np.empty_like(kept), np.empty_like(kept)
    _subtract(ctx.input(0), data.numbers, kept, out, estimate)
    ctx.set_output(0, out)
    ctx.set_output(1, estimate)
    ctx.write_state(kept)


def bind(ctx: BindContext, data: SpectralSubtraction) -> list[Step]:
    """One call; the estimate is changed in place."""
    (kept,) = ctx.state()
    return [(_subtract.ready, (ctx.input(0), data.numbers, kept, ctx.output(0), ctx.output(1)))]


@jit
def _subtract(x, numbers, kept, out, estimate):
    """In 64 bits, cut to 32 where C++ stores them so; one row of x may stand for all."""
    count = out.shape[1]
    smoothing, rest = numbers[:count], numbers[count : 2 * count]
    remaining, up, bits = numbers[2 * count], numbers[2 * count + 1], numbers[2 * count + 2]
    clamping = numbers[2 * count + 3] != np.uint64(0)
    low = np.uint64(0xFFFFFFFF)
    for row in range(out.shape[0]):
        values = x[row if x.shape[0] > 1 else 0]
        for i in range(count):
            value = np.uint64(values[i])
            signal = (value << up) & low
            noise = signal * smoothing[i] + np.uint64(kept[row, i]) * rest[i]
            noise = (noise >> bits) & low
            taken = min(noise, signal)
            floor = ((value * remaining) >> bits) & low
            out[row, i] = np.uint32(max((signal - taken) >> up, floor))
            kept[row, i] = estimate[row, i] = np.uint32(taken if clamping else noise)


def state(data: SpectralSubtraction, batch: int) -> tuple[np.ndarray, ...]:
    """The estimate."""
    return (np.zeros((batch, data.channels), np.uint32),)


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then the estimate."""
    data = 56 if build.abi is Abi.LP64 else 44
    return data, 4 * _signal.option_at(node, _NUM_CHANNELS)


OP = OpSpec(
    "SignalFilterBankSpectralSubtraction", prepare, evaluate, init_bytes, state=state, bind=bind
)
