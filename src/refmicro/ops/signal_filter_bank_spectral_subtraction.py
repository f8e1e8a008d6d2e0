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

import numpy as np

from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, Node, OpSpec, PrepareContext
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

    def of_channels(self, pair: tuple[int, int]) -> np.ndarray:
        """One value a channel."""
        return np.resize(np.array(pair, np.uint64), self.channels)


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
    """All channels at once, in 64 bits, cut to 32 where C++ stores them so."""
    (before,) = ctx.read_state()
    x = ctx.input(0).astype(np.uint64)
    bits, up = np.uint64(data.bits), np.uint64(data.smoothing_bits)
    low = np.uint64(2**32 - 1)
    signal = (x << up) & low
    smoothed = signal * data.of_channels(data.smoothing)
    noise = smoothed + before.astype(np.uint64) * data.of_channels(data.one_minus_smoothing)
    noise = (noise >> bits) & low
    taken = np.minimum(noise, signal)
    if data.clamping:
        noise = taken
    floor = ((x * np.uint64(data.min_signal_remaining)) >> bits) & low
    out = np.maximum((signal - taken) >> up, floor)
    estimate = noise.astype(np.uint32)
    ctx.set_output(0, out.astype(np.uint32))
    ctx.set_output(1, estimate)
    ctx.write_state(estimate)


def state(data: SpectralSubtraction, batch: int) -> tuple[np.ndarray, ...]:
    """The estimate."""
    return (np.zeros((batch, data.channels), np.uint32),)


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then the estimate."""
    data = 56 if build.abi is Abi.LP64 else 44
    return data, 4 * _signal.option_at(node, _NUM_CHANNELS)


OP = OpSpec("SignalFilterBankSpectralSubtraction", prepare, evaluate, init_bytes, state=state)
