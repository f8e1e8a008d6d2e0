"""MAX_POOL_2D: output = act(largest of the window's positions that fall on the image).

Shapes: input (N, height, width, C), output (N, any height, any width, C): as many pixels as the
output declares, padded as the input's size tells. A window beside the image gives the type's lowest
finite value.
Quantization: int8, int16, float32; input and output share scale (to 1e-6) and zero point. A NaN is
never the largest.
Source: `tensorflow/lite/micro/kernels/pooling{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}pooling.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._pooling import (
    OP_DATA,
    PARAMS,
    Pooling,
    clamp_float,
    prepare_pooling,
    window_maxima,
)
from refmicro.ops._spec import EvalContext, OpSpec


def evaluate(ctx: EvalContext, data: Pooling) -> None:
    """Maxima by window, then the activation."""
    x = ctx.input(0)
    out = window_maxima(x.reshape(-1, *x.shape[2:]), data.window)
    if x.dtype == np.float32:
        out = clamp_float(out, data.limits)
    else:
        out = out.clip(*(x.dtype.type(limit) for limit in data.limits))
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


OP = OpSpec("MAX_POOL_2D", prepare_pooling, evaluate, OP_DATA, params=PARAMS)
