"""AVERAGE_POOL_2D: output = act(mean of the window's positions that fall on the image).

Integers: sum / count, rounded to the nearest, halves away from zero. float32: the sum in the order
of rows and columns, then one division.
Shapes: input (N, height, width, C), output (N, any height, any width, C): as many pixels as the
output declares, padded as the input's size tells.
Quantization: int8, int16, float32; input and output share scale (to 1e-6) and zero point.
Differs: a window beside the image is refused; TFLM stops at it and leaves the rest of the output.
Source: `tensorflow/lite/micro/kernels/pooling{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}pooling.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._pooling import (
    OP_DATA,
    PARAMS,
    Pooling,
    float_means,
    prepare_pooling,
    require_no_empty_window,
    rounded_means,
    window_sums,
)
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Pooling:
    """As all pooling, and no window may be empty."""
    data = prepare_pooling(ctx)
    require_no_empty_window(ctx, data.window)
    return data


def evaluate(ctx: EvalContext, data: Pooling) -> None:
    """Sums by window, then one division each."""
    x = ctx.input(0)
    images = x.reshape(-1, *x.shape[2:])
    if x.dtype == np.float32:
        out = float_means(window_sums(images, data.window, np.float32), data.window, data.limits)
    else:
        sums = window_sums(images, data.window, np.int32)
        out = rounded_means(sums, data.window, data.limits, x.dtype)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


OP = OpSpec("AVERAGE_POOL_2D", prepare, evaluate, OP_DATA, params=PARAMS)
