"""L2_POOL_2D: output = act(sqrt(mean of squares of the window's positions on the image)).

Shapes: input (N, height, width, C), output as the window's options and the input's size tell:
TFLM writes the dimensions that it computes over those that the file declares.
Quantization: float32 only. Squares are summed in the order of rows and columns; sum, quotient and
root are each rounded to float32.
Persistent: 20 bytes, the copy of the output's dimensions.
Differs: an output that is declared unlike computed is refused; TFLM would write beyond its buffer
or leave a part of it.
Source: `tensorflow/lite/micro/kernels/l2_pool_2d.cc`,
`tensorflow/lite/kernels/internal/reference/pooling.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._activation import float_range
from refmicro.ops._pooling import (
    PARAMS,
    Pooling,
    float_means,
    prepare_images,
    require_no_empty_window,
    window_sums,
)
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.ops._window import output_size
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Pooling:
    """Check types and shapes; the output's shape must be the computed one."""
    ctx.require(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    output, x = ctx.output(0), ctx.input(0)
    for what, tensor in (("input", x), ("output", output)):
        ctx.require(len(tensor.shape) == 4, f"{what} must have 4 dimensions", tensor.shape)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_type("input", x, DType.FLOAT32)
    window = prepare_images(ctx, x, output)
    padding = ctx.options.get("padding", 0)
    computed = [output_size(padding, axis) for axis in (window.height, window.width)]
    ctx.require_shape(
        list(output.shape[1:3]) == computed,
        f"output must be of height {computed[0]} and width {computed[1]}",
        list(output.shape),
    )
    require_no_empty_window(ctx, window)
    ctx.persistent(4 + 4 * len(output.shape))
    return Pooling(window, output, float_range(ctx.options.get("fused_activation_function", 0)))


def evaluate(ctx: EvalContext, data: Pooling) -> None:
    """Sums of squares by window, then quotient and root."""
    x = ctx.input(0)
    sums = window_sums(x.reshape(-1, *x.shape[2:]), data.window, np.float32, square=True)
    out = float_means(sums, data.window, data.limits, root=True)
    ctx.set_output(0, out.reshape(-1, *data.output.shape))


OP = OpSpec("L2_POOL_2D", prepare, evaluate, params=PARAMS)
