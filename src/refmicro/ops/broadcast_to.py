"""BROADCAST_TO: the input repeated along dimensions of size 1.

Shapes: `shape` is a constant vector of 1 to 5 int32 or int64 that equals the output's declared
shape; the input's dimensions, aligned at the end, are 1 or those of the output.
Quantization: any type of whole bytes, bytes are copied.
Differs: int4 and resource ids are refused; TFLM knows no size for them and would copy nothing.
Source: `tensorflow/lite/micro/kernels/broadcast_to.cc`,
`tensorflow/lite/kernels/internal/reference/broadcast_to.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType

_MAX_RANK = 5


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the output's shape."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, shape, output = ctx.input(0), ctx.input(1), ctx.output(0)
    rank = len(output.shape)
    ctx.require_type("shape", shape, DType.INT32, DType.INT64)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require(shape.is_constant, "shape must be constant", "a computed tensor")
    ctx.require(shape.shape == (rank,), f"shape must have shape [{rank}]", list(shape.shape))
    ctx.require(
        len(x.shape) <= rank <= _MAX_RANK,
        f"output must have {len(x.shape)} to {_MAX_RANK} dimensions",
        rank,
    )
    given = shape.array().tolist()
    ctx.require(
        given == list(output.shape), f"shape must be the output's, {list(output.shape)}", given
    )
    aligned = (1,) * (rank - len(x.shape)) + x.shape
    ctx.require(
        all(size in (1, out) for size, out in zip(aligned, output.shape, strict=True)),
        f"input dimensions must be 1 or those of the output, {list(output.shape)}",
        list(x.shape),
    )
    ctx.require_shape(
        x.dtype not in (DType.INT4, DType.RESOURCE), "input must have whole bytes", x.dtype
    )
    return output.shape


def evaluate(ctx: EvalContext, shape: tuple[int, ...]) -> None:
    """Copies."""
    x = ctx.input(0)
    front = (1,) * (len(shape) + 1 - x.ndim)
    aligned = x.reshape(x.shape[0], *front, *x.shape[1:])
    ctx.set_output(0, np.ascontiguousarray(np.broadcast_to(aligned, (x.shape[0], *shape))))


OP = OpSpec("BROADCAST_TO", prepare, evaluate)
