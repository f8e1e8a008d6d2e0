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

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._signal import bit_length
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
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
    """All channels; one row may stand for all."""
    x, noise, lut = (ctx.input(index) for index in range(3))
    rows = max(len(x), len(noise), len(lut))
    out = np.empty((rows, data.channels), np.uint32)
    _normalise(x, noise, lut, np.uint64(data.snr_shift), out)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: Pcan) -> list[Step]:
    """One call for all channels."""
    arrays = [ctx.input(index) for index in range(3)]
    return [(_normalise.ready, (*arrays, np.uint64(data.snr_shift), ctx.output(0)))]


@jit
def _normalise(x, noise, lut, shift, out):
    """One row of an input may stand for all."""
    low, limit = np.uint64(0xFFFFFFFF), np.uint64(2 << _SNR_BITS)
    table = np.empty(lut.shape[1], np.int64)
    for row in range(out.shape[0]):
        if row == 0 or lut.shape[0] > 1:
            table[:] = lut[row]
        levels = noise[row if noise.shape[0] > 1 else 0]
        values = x[row if x.shape[0] > 1 else 0]
        for channel in range(out.shape[1]):
            # TFLM hands the int16 gain on as uint32.
            gain = np.uint64(np.uint32(np.int16(_gain(np.int64(levels[channel]), table))))
            snr = ((np.uint64(values[channel]) * gain) >> shift) & low
            small = (snr * snr) >> np.uint64(20)
            large = (max(snr, limit) >> np.uint64(6)) - np.uint64(64)
            out[row, channel] = np.uint32(small if snr < limit else large)


@jit(inline=True)
def _gain(level, table):
    """`WideDynamicFunction` of a uint32 value: pieces of a curve, one for each number of bits."""
    index = np.uint64
    interval = bit_length(level)
    fraction = ((level << max(11 - interval, 0)) >> max(interval - 11, 0)) & 0x3FF
    piece = max(4 * interval - 6, 0)
    zeroth, first, second = table[index(piece)], table[index(piece + 1)], table[index(piece + 2)]
    curve = ((second * fraction >> 5) + (first << 5)) * fraction
    wide = ((curve + (1 << 14)) >> 15) + zeroth
    return wide if level > 2 else table[index(min(level, 2))]


OP = OpSpec("SignalPCAN", prepare, evaluate, OpData(lp64=4, ilp32=4), bind=bind)
