"""MEAN over axes of a tensor.

Integers: output = clamp(requantize(sum - terms * zx) + zo), where the multiplier of the scales is
divided by the number of terms. float32: the sum in the order of the input, then one division.
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
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Reduction:
    """As SUM; a float mean over height and width that keeps its dimensions checks the output."""
    data = prepare_mean_or_sum(ctx, mean=True)
    axis = ctx.node.inputs[1]
    if data.input.dtype is not DType.FLOAT32 or not ctx.options.get("keep_dims", False):
        return data
    if len(data.input.shape) == 4 and axis.array().reshape(-1).tolist() in ([1, 2], [2, 1]):
        extended = (1,) * (4 - len(data.output.shape)) + data.output.shape
        ctx.require_shape(
            len(extended) == 4 and extended[1:3] == (1, 1),
            "output must keep the reduced dimensions: TFLM would abort",
            data.output.shape,
        )
    return data


def evaluate(ctx: EvalContext, data: Reduction) -> None:
    """Sums, then the division."""
    if data.requantize is not None:
        evaluate_quantized(ctx, data)
        return
    x = ctx.input(0)
    sums = ordered_sums(x, data.axes, np.float32)
    ctx.set_output(0, (sums / np.float32(data.terms)).reshape(x.shape[0], *data.output.shape))


OP = OpSpec("MEAN", prepare, evaluate, OP_DATA, params=PARAMS, bind=bind_quantized)
