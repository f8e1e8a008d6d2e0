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
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
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
    """Find the largest magnitudes, then shift."""
    x = np.ascontiguousarray(ctx.input(0)[:, :length])
    least = x.min(axis=1, initial=0).astype(np.int32)
    largest = np.maximum(x.max(axis=1, initial=0), -least)
    if (largest == 32768).any():
        _largest_in_order(x, largest)
    bits = np.maximum(15 - _signal.most_significant_bit(largest.astype(np.uint32)), 0)
    out = (x.astype(np.int32) << bits[:, None].astype(np.int32)).astype(np.int16)
    ctx.set_output(0, out)
    ctx.set_output(1, bits.astype(np.int32))


@jit
def _largest_in_order(x, largest):
    """The magnitude that C++ finds, which cannot hold 32768 and takes it for -32768."""
    for n in range(x.shape[0]):
        found = 0
        for i in range(x.shape[1]):
            value = np.int64(x[n, i])
            if value > found:
                found = value
            elif -value > found:
                found = -value if value > -32768 else -32768
        largest[n] = found


OP = OpSpec("SignalFftAutoScale", prepare, evaluate)
