"""FILL: every element of the output = value.

Shapes: `dims` is a constant vector of int8, int16, int32 or int64 that equals the output's declared
shape; `value` is a scalar.
Quantization: float32, int32 and int8, value and output of one type; bytes are copied.
Source: `tensorflow/lite/micro/kernels/fill.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the output's shape."""
    dims, value, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require(value.shape == (), "value must be a scalar", list(value.shape))
    ctx.require(
        value.dtype is output.dtype,
        "value and output must have one type",
        f"{value.dtype} and {output.dtype}",
    )
    ctx.require(dims.is_constant, "dims must be constant", "a computed tensor")
    ctx.require(
        dims.shape == (len(output.shape),),
        f"dims must have shape [{len(output.shape)}]",
        list(dims.shape),
    )
    ctx.require_type("dims", dims, DType.INT8, DType.INT16, DType.INT32, DType.INT64)
    given = dims.array().tolist()
    ctx.require(
        given == list(output.shape), f"dims must be the output's shape {list(output.shape)}", given
    )
    ctx.require_type("value", value, DType.FLOAT32, DType.INT32, DType.INT8)
    return output.shape


def evaluate(ctx: EvalContext, shape: tuple[int, ...]) -> None:
    """One value a row."""
    value = ctx.input(1)
    filled = np.empty((value.shape[0], *shape), value.dtype)
    filled.reshape(value.shape[0], -1)[:] = value.reshape(-1, 1)
    ctx.set_output(0, filled)


OP = OpSpec("FILL", prepare, evaluate)
