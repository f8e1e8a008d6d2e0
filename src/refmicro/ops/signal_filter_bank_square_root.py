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

from refmicro.errors import UsageError
from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
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
    """Roots, then the shift of each row."""
    bits = ctx.input(1).reshape(-1, 1)
    if ((bits < 0) | (bits > 31)).any():
        raise UsageError(
            f"SignalFilterBankSquareRoot must shift by 0 to 31 bits: {bits.min()}..{bits.max()}",
            hint="SignalFftAutoScale gives these",
        )
    ctx.set_output(0, square_root(ctx.input(0)) >> bits.astype(np.uint32))


def square_root(x: np.ndarray) -> np.ndarray:
    """`Sqrt64` of uint64 values, as uint32."""
    one = np.uint64(1)
    # A double is at most one off, or 2^32 at the upper end, where the square would wrap to zero.
    root = np.minimum(np.sqrt(x.astype(np.float64)), 2.0**32 - 1).astype(np.uint64)
    root -= (root * root > x).astype(np.uint64)
    rest = x - root * root
    above = rest > root + root
    rest = np.where(above, rest - (root + root + one), rest)
    root += above.astype(np.uint64)
    largest = np.where(x < np.uint64(2**32), np.uint64(2**16 - 1), np.uint64(2**32 - 1))
    root += ((rest > root) & (root != largest)).astype(np.uint64)
    return root.astype(np.uint32)


OP = OpSpec("SignalFilterBankSquareRoot", prepare, evaluate)
