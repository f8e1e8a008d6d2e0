"""SignalWindow, a custom operator: output = saturate((input * weights) >> shift).

Shapes: input of any shape whose elements are whole windows, weights (window), output as many
elements as the input.
Quantization: int16.
Persistent: 8 bytes. Options: `shift`.
Differs: parts of windows and outputs of another size are refused; TFLM would read and write outside
the tensors.
Source: `signal/micro/kernels/window.cc`, `signal/src/window.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType


@dataclass(frozen=True)
class Window:
    """Length of a window, shift to the right, shape of the output."""

    length: int
    shift: int
    output_shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Window:
    """Check types and sizes."""
    _signal.require_count(ctx, (2, 1))
    x, weights, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require(len(x.shape) >= 1, "input must have at least 1 dimension", 0)
    _signal.require_tensor(ctx, "weights", weights, DType.INT16, 1)
    _signal.require_tensor(ctx, "output", output, DType.INT16, len(x.shape))
    ctx.require_type("input", x, DType.INT16)
    (length,) = weights.shape
    ctx.require_shape(
        length > 0 and x.elements % length == 0,
        f"input must hold windows of {length} values",
        x.elements,
    )
    ctx.require_shape(
        output.elements == x.elements, f"output must hold {x.elements} values", output.elements
    )
    (shift,) = _signal.options_at(ctx, 0)
    _signal.require_shift(ctx, "shift", shift, 32)
    return Window(length, shift, output.shape)


def evaluate(ctx: EvalContext, data: Window) -> None:
    """All windows at once."""
    x, weights = ctx.input(0), ctx.input(1)
    rows = max(len(x), len(weights))
    out = np.empty((rows, x[0].size), np.int16)
    _weigh(x.reshape(len(x), -1), weights.reshape(len(weights), -1), data.shift, out)
    ctx.set_output(0, out.reshape(out.shape[0], *data.output_shape))


def bind(ctx: BindContext, data: Window) -> list[Step]:
    """One call for all windows."""
    x, weights, out = ctx.input(0), ctx.input(1), ctx.output(0)
    x, weights, out = (array.reshape(len(array), -1) for array in (x, weights, out))
    return [(_weigh.ready, (x, weights, data.shift, out))]


@jit
def _weigh(x, weights, shift, out):
    """Windows of one row lie behind one another; one row may stand for all."""
    # The compiler shifts in 32 bits if it sees that the number of bits is one of these.
    shift &= 31
    length = weights.shape[1]
    for row in range(out.shape[0]):
        values = x[row if x.shape[0] > 1 else 0]
        factors = weights[row if weights.shape[0] > 1 else 0]
        for start in range(0, values.size, length):
            window, target = values[start : start + length], out[row, start : start + length]
            for i in range(length):
                value = np.int32(np.int32(window[i]) * np.int32(factors[i])) >> shift
                target[i] = np.int16(min(max(value, -32768), 32767))


OP = OpSpec("SignalWindow", prepare, evaluate, OpData(lp64=8, ilp32=8), bind=bind)
