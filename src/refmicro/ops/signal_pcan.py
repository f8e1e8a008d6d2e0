"""SignalPCAN, a custom operator: automatic gain control from the estimate of noise.

    snr = (input * gain(noise)) >> snr_shift
    output = snr^2 >> 20 below 2^13, (snr >> 6) - 64 from there on
The gain is a quadratic in pieces: three numbers of `gain_lut` for every power of two.

Shapes: input, noise estimate, gain_lut and output are vectors; gain_lut of 125 values or more.
Quantization: uint32, gain_lut int16.
Persistent: 4 bytes. Options: `snr_shift`.
Differs: vectors that are too short are refused; TFLM would read and write past their ends.
Source: `signal/micro/kernels/pcan.cc`, `signal/src/pcan_argc_fixed.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType

_LUT_VALUES = 4 * 32 - 6 + 3
_SNR_BITS = 12


@dataclass(frozen=True)
class Pcan:
    """Length of the vectors, shift of the product."""

    channels: int
    snr_shift: int


def prepare(ctx: PrepareContext) -> Pcan:
    """Check types and sizes."""
    _signal.require_count(ctx, (3, 1))
    x, noise, lut, output = ctx.input(0), ctx.input(1), ctx.input(2), ctx.output(0)
    _signal.require_tensor(ctx, "input", x, DType.UINT32, 1)
    _signal.require_tensor(ctx, "noise estimate", noise, DType.UINT32, 1)
    _signal.require_tensor(ctx, "gain_lut", lut, DType.INT16, 1)
    _signal.require_tensor(ctx, "output", output, DType.UINT32, 1)
    ctx.require_shape(
        output.elements == x.elements, f"output must hold {x.elements} values", output.elements
    )
    _signal.require_elements(ctx, "noise estimate", noise, x.elements)
    _signal.require_elements(ctx, "gain_lut", lut, _LUT_VALUES)
    (snr_shift,) = _signal.options_at(ctx, 0)
    _signal.require_shift(ctx, "snr_shift", snr_shift, 64)
    return Pcan(x.elements, snr_shift)


def evaluate(ctx: EvalContext, data: Pcan) -> None:
    """All channels at once."""
    x = ctx.input(0).astype(np.uint64)
    noise = ctx.input(1)[:, : data.channels]
    gains = gain(noise, ctx.input(2)).astype(np.uint32).astype(np.uint64)
    snr = ((x * gains) >> np.uint64(data.snr_shift)) & np.uint64(2**32 - 1)
    below = snr < np.uint64(2 << _SNR_BITS)
    square = np.where(below, snr * snr, np.uint64(0)) >> np.uint64(20)
    line = ((snr >> np.uint64(6)) - np.uint64(64)) & np.uint64(2**32 - 1)
    ctx.set_output(0, np.where(below, square, line).astype(np.uint32))


def gain(noise: np.ndarray, lut: np.ndarray) -> np.ndarray:
    """`WideDynamicFunction`: int16 values of uint32 arguments; both have B rows or 1."""
    rows = max(len(noise), len(lut))
    noise = np.broadcast_to(noise, (rows, noise.shape[1]))
    interval = _signal.most_significant_bit(noise)
    piece = np.where(noise <= 2, 0, 4 * interval - 6)
    x = noise.astype(np.int64)
    shifted = np.where(
        interval < 11, x << np.maximum(11 - interval, 0), x >> np.maximum(interval - 11, 0)
    )
    fraction = shifted & 0x3FF
    wide = np.broadcast_to(lut.astype(np.int64), (rows, lut.shape[1]))
    zeroth, first, second = (np.take_along_axis(wide, piece + i, axis=1) for i in range(3))
    curve = ((second * fraction >> 5) + (first << 5)) * fraction
    value = (curve + (1 << 14) >> 15) + zeroth
    direct = np.take_along_axis(wide, np.minimum(x, 2), axis=1)
    return np.where(noise <= 2, direct, value).astype(np.int16)


OP = OpSpec("SignalPCAN", prepare, evaluate, OpData(lp64=4, ilp32=4))
