"""SUB: output = act(a - b); quantized: both rescaled to twice the larger input scale first.

Shapes: inputs broadcast by NumPy's rules, at most 6 dimensions.
Quantization: int8 and int16 with any zero points; int32 not quantized, differences wrap; float32.
The multipliers come from doubles (the source read here takes float32 steps, the pinned wheel does
not).
Differs: as for ADD.
Source: `tensorflow/lite/micro/kernels/sub{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/sub.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._activation import float_range
from refmicro.ops._elementwise import (
    Broadcast,
    Pairwise,
    Shapes,
    evaluate_pair,
    int32_range,
    require_not_quantized,
    require_same_type,
    require_scale,
)
from refmicro.ops._spec import OpData, OpSpec, PrepareContext
from refmicro.ops._sum import left_shift_of, quantized_sum, sum_arguments, sum_formula
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Pairwise | Broadcast:
    """Check types and shapes, derive multipliers."""
    a, b, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("output", output, DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)
    require_same_type(ctx, a, b, output, malformed=True)
    shapes = Shapes.of(ctx, a, b, output)
    activation = ctx.options.get("fused_activation_function", 0)
    if output.dtype is DType.FLOAT32:
        return Broadcast(shapes, np.subtract, float_range(activation))
    if output.dtype is DType.INT32:
        require_not_quantized(ctx, a, b, output)
        return Broadcast(shapes, np.subtract, int32_range(activation))
    require_scale(ctx, "output", output)
    twice = 2 * max(a.scale, b.scale)
    ctx.require_shape(twice > 0, "an input must have a scale above 0", twice)
    reals = (
        a.scale / twice,
        b.scale / twice,
        twice / ((1 << left_shift_of(output)) * output.scale),
    )
    arguments = sum_arguments(ctx, (a, b), output, reals, -1)
    formula = sum_formula(arguments)
    return Pairwise(shapes, quantized_sum, arguments, output.dtype.numpy, formula)


OP = OpSpec("SUB", prepare, evaluate_pair, OpData(lp64=52, ilp32=52), params="TfLiteSubParams")
