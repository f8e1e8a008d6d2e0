"""EXPAND_DIMS: the same values with a dimension of size 1 at `axis`.

Shapes: `axis` is one constant int32, negative from the end of the output's dimensions; the output's
declared shape must be the input's with the new dimension.
Quantization: float32, int16 and int8; bytes are copied.
Differs: an output of another type is refused, TFLM would write the input's type there; so is a
negative axis in front of the first, where TFLM compares shapes with memory next to them.
Source: `tensorflow/lite/micro/kernels/expand_dims.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import bind_same, evaluate_same, int32_words, require_same_type
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the output's shape."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, axis, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require(len(axis.shape) <= 1, "axis must be a scalar or a vector", list(axis.shape))
    ctx.require_type("axis", axis, DType.INT32)
    (place,) = int32_words(ctx, "axis", axis, 1)
    rank = len(x.shape)
    at = place + rank + 1 if place < 0 else place
    ctx.require(at <= rank, f"axis must be inside {rank + 1} dimensions", place)
    ctx.require_shape(at >= 0, f"axis must be inside {rank + 1} dimensions", place)
    shape = (*x.shape[:at], 1, *x.shape[at:])
    ctx.require(output.shape == shape, f"output must have shape {list(shape)}", list(output.shape))
    ctx.require_type("input", x, DType.FLOAT32, DType.INT16, DType.INT8)
    require_same_type(ctx, x, output)
    return shape


OP = OpSpec("EXPAND_DIMS", prepare, evaluate_same, bind=bind_same)
