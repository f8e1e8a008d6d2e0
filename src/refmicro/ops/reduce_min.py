"""REDUCE_MIN: the smallest value over axes of a tensor.

Shapes: axis of any number of values in -rank..rank-1, repeats count once; output with as many
elements as remain. The axis must be constant.
Quantization: int8 and float32; int8 input and output share scale and zero point. A float starts
from the highest finite value, and a NaN is never taken.
Scratch: 4 bytes an input dimension, 4 an axis.
Differs: a computed axis is refused.
Source: `tensorflow/lite/micro/kernels/reduce{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/reduce.h`.
"""

from __future__ import annotations

from refmicro.ops._extremum import evaluate_extremum, prepare_extremum
from refmicro.ops._reduce import OP_DATA, PARAMS, Reduction
from refmicro.ops._spec import EvalContext, OpSpec


def evaluate(ctx: EvalContext, data: Reduction) -> None:
    """The smallest of the terms of each output."""
    evaluate_extremum(ctx, data, largest=False)


OP = OpSpec("REDUCE_MIN", prepare_extremum, evaluate, OP_DATA, params=PARAMS)
