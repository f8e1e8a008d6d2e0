"""SignalEnergy, a custom operator: output[i] = real[i]^2 + imaginary[i]^2.

Shapes: input a vector of complex values, real and imaginary parts in turn; output a vector, of
which `start_index` to `end_index` - 1 are written.
Quantization: int16, output uint32.
Persistent: 8 bytes. Options: `end_index`, `start_index`.
Differs: outputs that are not written are zero; TFLM leaves what lies in the arena. Indices outside
the tensors are refused; TFLM would read and write there.
Source: `signal/micro/kernels/energy.cc`, `signal/src/energy.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> tuple[int, int, int]:
    """Returns start, end and the output's length."""
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    _signal.require_tensor(ctx, "input", x, DType.INT16, 1)
    _signal.require_tensor(ctx, "output", output, DType.UINT32, 1)
    end, start = _signal.options_at(ctx, 0, 1)
    room = min(x.elements // 2, output.elements)
    ctx.require_shape(
        start >= end or (start >= 0 and end <= room),
        f"start_index and end_index must lie inside {room} values",
        f"{start} and {end}",
    )
    return (start, end, output.elements) if start < end else (0, 0, output.elements)


def evaluate(ctx: EvalContext, data: tuple[int, int, int]) -> None:
    """All rows."""
    start, end, size = data
    x = ctx.input(0)
    out = np.empty((x.shape[0], size), np.uint32)
    _squares(x, start, end, out)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: tuple[int, int, int]) -> list[Step] | None:
    """One call for all rows."""
    x, (start, end, _) = ctx.input(0), data
    return [(_squares.ready, (x, start, end, ctx.output(0)))] if len(x) == ctx.rows else None


@jit
def _squares(x, start, end, out):
    """The sum wraps into uint32 where both parts are -32768."""
    for row in range(out.shape[0]):
        parts = x[row, 2 * start : 2 * end]
        squares = out[row, start:end]
        for i in range(squares.size):
            re, im = np.int64(parts[2 * i]), np.int64(parts[2 * i + 1])
            squares[i] = np.uint32(re * re + im * im)
        out[row, :start] = 0
        out[row, end:] = 0


OP = OpSpec("SignalEnergy", prepare, evaluate, OpData(lp64=8, ilp32=8), bind=bind)
