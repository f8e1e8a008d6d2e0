"""BROADCAST_ARGS: the shape that two shapes broadcast to.

Shapes: three vectors; the two inputs are aligned at their ends, missing dimensions count as 1, and
the output's declared length says how many are written.
Quantization: int32 or int64, all three alike; TFLM computes with the low 32 bits.
Differs: dimensions that do not broadcast are refused during the run; TFLM aborts.
Source: `tensorflow/lite/micro/kernels/broadcast_args.cc`,
`tensorflow/lite/kernels/internal/reference/broadcast_args.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Tensor:
    """Returns the output."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    tensors = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("input 0", tensors[0], DType.INT32, DType.INT64)
    for what, tensor in zip(("input 0", "input 1", "output"), tensors, strict=True):
        ctx.require(
            tensor.dtype is tensors[0].dtype,
            f"{what} must be {tensors[0].dtype}",
            tensor.dtype,
        )
        ctx.require(len(tensor.shape) == 1, f"{what} must be a vector", list(tensor.shape))
    return tensors[2]


def evaluate(ctx: EvalContext, output: Tensor) -> None:
    """Align, then pick the dimension that is not 1."""
    first, second = (_aligned(ctx.input(index), output.elements) for index in (0, 1))
    same = (first == second) | (first == 1) | (second == 1)
    if not same.all():
        raise UsageError(
            "BROADCAST_ARGS must get shapes that broadcast: "
            f"{ctx.input(0).tolist()} and {ctx.input(1).tolist()}",
            hint="TFLM aborts on these",
        )
    ctx.set_output(0, np.where(first == 1, second, first).astype(output.dtype.numpy))


def _aligned(shape: np.ndarray, length: int) -> np.ndarray:
    """The last `length` dimensions as int32, ones in front."""
    kept = shape[:, max(0, shape.shape[1] - length) :].astype(np.int32)
    front = np.ones((shape.shape[0], length - kept.shape[1]), np.int32)
    return np.concatenate([front, kept], axis=1)


OP = OpSpec("BROADCAST_ARGS", prepare, evaluate)
