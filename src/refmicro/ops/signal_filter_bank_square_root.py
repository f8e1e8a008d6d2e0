"""SignalFilterBankSquareRoot, a custom operator: output = round(sqrt(input)) >> scale_bits.

Roots are rounded to the nearest, but not up to 2^16 for inputs below 2^32, nor up to 2^32.

Shapes: input and output vectors, scale_bits a scalar.
Quantization: uint64, output uint32, scale_bits int32.
Differs: an output shorter than the input is refused, TFLM would write past its end; scale_bits
outside 0 to 31 are refused during the run, C++ leaves such shifts undefined.
Source: `signal/micro/kernels/filter_bank_square_root{,_common}.cc`,
`signal/src/square_root_{32,64}.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UsageError
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> None:
    """Check types and sizes."""
    _signal.require_count(ctx, (2, 1))
    x, scale_bits, output = ctx.input(0), ctx.input(1), ctx.output(0)
    _signal.require_tensor(ctx, "input", x, DType.UINT64, 1)
    _signal.require_tensor(ctx, "scale_bits", scale_bits, DType.INT32, 0)
    _signal.require_tensor(ctx, "output", output, DType.UINT32, 1)
    ctx.require_shape(
        output.elements == x.elements, f"output must hold {x.elements} values", output.elements
    )


def evaluate(ctx: EvalContext, data: None) -> None:
    """All rows."""
    x, bits = ctx.input(0), ctx.input(1)
    out = np.empty((max(len(x), len(bits)), x.shape[1]), np.uint32)
    _shifted_roots(x, bits, out)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: None) -> list[Step]:
    """One call for all rows."""
    return [(_shifted_roots, (ctx.input(0), ctx.input(1), ctx.output(0)))]


def _shifted_roots(x: np.ndarray, bits: np.ndarray, out: np.ndarray) -> None:
    if not _square_roots.ready(x, bits, out):
        raise UsageError(
            f"SignalFilterBankSquareRoot must shift by 0 to 31 bits: {bits.min()}..{bits.max()}",
            hint="SignalFftAutoScale gives these",
        )


@jit
def _square_roots(x, bits, out):
    """`Sqrt64`, then the shift of each row; one row may stand for all. Returns whether all shifts
    are defined."""
    for row in range(out.shape[0]):
        shift = np.int64(bits[row if bits.shape[0] > 1 else 0])
        if shift < 0 or shift > 31:
            return False
        values = x[row if x.shape[0] > 1 else 0]
        for i in range(values.size):
            out[row, i] = np.uint32(_square_root(values[i]) >> np.uint64(shift))
    return True


@jit(inline=True)
def _square_root(x):
    zero, one, largest = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFF)
    # A double is at most one off, or 2^32 at the upper end, where the square would wrap to zero.
    root = np.uint64(min(np.sqrt(np.float64(x)), 4294967295.0))
    root -= one if root * root > x else zero
    rest = x - root * root
    above = rest > root + root
    rest -= root + root + one if above else zero
    root += one if above else zero
    end = np.uint64(0xFFFF) if x <= largest else largest
    return root + (one if rest > root and root != end else zero)


OP = OpSpec("SignalFilterBankSquareRoot", prepare, evaluate, bind=bind)
