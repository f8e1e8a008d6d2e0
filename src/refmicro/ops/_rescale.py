"""The Prepare that ABS and RSQRT share.

Source: `PrepareAbsRsqrt` in `tensorflow/lite/micro/kernels/elementwise.cc`.
"""

from __future__ import annotations

from refmicro.ops._elementwise import (
    require_counts,
    require_same_elements,
    require_same_type,
    require_scale,
    require_zero_points,
)
from refmicro.ops._spec import OpData, PrepareContext
from refmicro.types import DType, Tensor

OP_DATA = OpData(lp64=28, ilp32=28)


def prepare_rescaled(ctx: PrepareContext, *types: DType) -> tuple[Tensor, Tensor, bool]:
    """(input, output, whether both are quantized), after TFLM's checks."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, *types)
    require_same_elements(ctx, x, output)
    quantized = x.dtype is DType.INT8 or (x.dtype is DType.INT16 and x.quantization.is_affine)
    if quantized:
        for what, tensor in (("input", x), ("output", output)):
            ctx.require(tensor.quantization.is_affine, f"{what} must be quantized", "it is not")
            ctx.require(
                x.dtype is DType.INT8 or tensor.zero_point == 0,
                "int16 zero points must be 0",
                tensor.zero_point,
            )
        require_scale(ctx, "output", output)
        require_zero_points(ctx, x, output)
    return x, output, quantized
