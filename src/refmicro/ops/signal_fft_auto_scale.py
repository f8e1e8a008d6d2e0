"""SignalFftAutoScale, a custom operator: shifts a frame up as far as its largest value allows.

output = input << scale_bits, with scale_bits = 15 - bits of the largest magnitude, at least 0; a
frame of zeros has 0.

Shapes: input and output vectors, the output's length counts; scale_bits a scalar.
Quantization: int16, scale_bits int32.
Differs: an input shorter than the output is refused; TFLM would read past its end.
After a value of -32768 TFLM takes the next values as they are for the largest magnitude, until one
is larger; so does this.
Source: `signal/micro/kernels/fft_auto_scale_{common,kernel}.cc`, `signal/src/fft_auto_scale.cc`,
`signal/src/max_abs.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._signal import bit_length
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> int:
    """Returns the frame's length."""
    _signal.require_count(ctx, (1, 2))
    x, output, scale_bits = ctx.input(0), ctx.output(0), ctx.output(1)
    _signal.require_tensor(ctx, "input", x, DType.INT16, 1)
    _signal.require_tensor(ctx, "output", output, DType.INT16, 1)
    _signal.require_tensor(ctx, "scale_bits", scale_bits, DType.INT32, 0)
    _signal.require_elements(ctx, "input", x, output.elements)
    return output.elements


def evaluate(ctx: EvalContext, length: int) -> None:
    """All frames."""
    x = ctx.input(0)
    out = np.empty((x.shape[0], length), np.int16)
    bits = np.empty(x.shape[0], np.int32)
    _scale(x, out, bits)
    ctx.set_output(0, out)
    ctx.set_output(1, bits)


def bind(ctx: BindContext, length: int) -> list[Step] | None:
    """One call for all frames."""
    x = ctx.input(0)
    if x.shape[0] != ctx.rows:
        return None
    return [(_scale.ready, (x, ctx.output(0), ctx.output(1)))]


@jit
def _scale(x, out, bits):
    """Find the largest magnitude, then shift."""
    length = out.shape[1]
    for row in range(out.shape[0]):
        values = x[row, :length]
        low = high = np.int16(0)
        for i in range(length):
            low, high = min(low, values[i]), max(high, values[i])
        largest = max(np.int64(high), -np.int64(low))
        if largest == 32768:
            largest = _largest_in_order(values)
        shift = 0
        if largest > 0:
            shift = 15 - bit_length(largest)
        bits[row] = shift
        for i in range(length):
            out[row, i] = np.int16(np.int32(values[i]) << (shift & 15))


@jit
def _largest_in_order(values):
    """The magnitude that C++ finds, which cannot hold 32768 and takes it for -32768."""
    found = 0
    for i in range(values.size):
        value = np.int64(values[i])
        if value > found:
            found = value
        elif -value > found:
            found = -value if value > -32768 else -32768
    return found


OP = OpSpec("SignalFftAutoScale", prepare, evaluate, bind=bind)
