"""SUM over axes of a tensor.

Integers: output = clamp(requantize(sum - terms * zx) + zo). float32: in the order of the input.
Shapes: axis of any number of values in -rank..rank-1, repeats count once; output with as many
elements as remain. The axis must be constant.
Quantization: int8, int16, float32; int32 sums.
Scratch: 4 bytes an output element (integers), 4 an input dimension, 4 an axis.
Differs: an axis out of range is refused; TFLM gives zeros for integers. A computed axis is refused.
Which NaN a float is, is not promised.
Source: `tensorflow/lite/micro/kernels/reduce{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/reduce.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._reduce import (
    OP_DATA,
    PARAMS,
    Reduction,
    bind_quantized,
    evaluate_quantized,
    ordered_sums,
    prepare_mean_or_sum,
)
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Reduction:
    """Check types and axes, derive the multiplier."""
    return prepare_mean_or_sum(ctx, mean=False)


def evaluate(ctx: EvalContext, data: Reduction) -> None:
    """Sums in the order of the input."""
    if data.requantize is not None:
        evaluate_quantized(ctx, data)
        return
    x = ctx.input(0)
    sums = ordered_sums(x, data.axes, np.float32)
    ctx.set_output(0, sums.reshape(x.shape[0], *data.output.shape))


OP = OpSpec("SUM", prepare, evaluate, OP_DATA, params=PARAMS, bind=bind_quantized)
