"""What RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR share: their checks.

Source: `tensorflow/lite/micro/kernels/resize_{bilinear,nearest_neighbor}.cc`.
"""

from __future__ import annotations

from refmicro.ops._spec import PrepareContext
from refmicro.types import DType, Tensor


def prepare_resize(ctx: PrepareContext, *dtypes: DType) -> tuple[Tensor, Tensor]:
    """(input, output) after TFLM's checks and those of shapes that it does not make."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, size, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require(len(x.shape) == 4, "input must have 4 dimensions", x.shape)
    ctx.require(len(size.shape) == 1, "size must have 1 dimension", size.shape)
    ctx.require_type("size", size, DType.INT32)
    ctx.require(size.is_constant, "size must be constant", "computed")
    ctx.require_type("output", output, *dtypes)
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_shape(size.elements == 2, "size must have 2 values", size.elements)
    shape = (x.shape[0], *size.array().tolist(), x.shape[3])
    ctx.require_shape(
        output.shape == shape, f"output must be of shape {list(shape)}", list(output.shape)
    )
    return x, output
