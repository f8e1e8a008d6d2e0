"""CONCATENATION: the inputs one behind the other along an axis.

Shapes: 1 to 10 inputs of at most 6 dimensions, equal but for the axis; the output's size along the
axis is the sum of theirs. A negative axis counts from the end of the output's dimensions.
Quantization: float32, int8, int16, int32, int64 and bool; int8 inputs must have the output's scale
and zero point, int16 tensors must have zero points of 0. No fused activation. Bytes are copied.
Persistent: 24 bytes (40 with 8-byte pointers), 40 more with compression.
Differs: shapes that do not fit together are refused; TFLM would read outside the tensors.
Source: `tensorflow/lite/micro/kernels/concatenation.cc`,
`tensorflow/lite/kernels/internal/reference/concatenation.h`.
"""

from __future__ import annotations

from refmicro.ops._movement import Parts, bind_join, join, parts_along, positive_axis
from refmicro.ops._spec import BindContext, EvalContext, OpData, OpSpec, PrepareContext, Step
from refmicro.types import DType, Tensor

MAX_INPUTS = 10
"""`kMaxInputNum`."""

_MAX_RANK = 6

_TYPES = (DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.BOOL)


def prepare(ctx: PrepareContext) -> Parts:
    """Check types and quantization, then shapes."""
    first, output = ctx.input(0), ctx.output(0)
    activation = ctx.options.get("fused_activation_function", 0)
    ctx.require(activation == 0, "must have no fused activation", activation)
    ctx.require_type("input", first, *_TYPES)
    ctx.require(
        output.dtype is first.dtype,
        "input and output must have one type",
        f"{first.dtype} and {output.dtype}",
    )
    count = len(ctx.node.inputs)
    ctx.require(count <= MAX_INPUTS, f"must have at most {MAX_INPUTS} inputs", count)
    inputs = [ctx.input(index) for index in range(count)]
    for index, x in enumerate(inputs):
        _check_input(ctx, index, x, output)
    if output.dtype is DType.INT16:
        ctx.require(
            output.zero_point == 0, "an int16 output must have zero point 0", output.zero_point
        )
    axis = positive_axis(ctx, ctx.options.get("axis", 0), len(output.shape), malformed=True)
    for index, x in enumerate(inputs):
        fits = len(x.shape) == len(output.shape) and all(
            i == axis or size == output.shape[i] for i, size in enumerate(x.shape)
        )
        ctx.require_shape(
            fits,
            f"input {index} must have the output's shape {list(output.shape)} but for axis {axis}",
            list(x.shape),
        )
    return parts_along(ctx, output, axis, [x.shape[axis] for x in inputs], inputs)


def _check_input(ctx: PrepareContext, index: int, x: Tensor, output: Tensor) -> None:
    ctx.require(
        x.dtype is output.dtype,
        f"input {index} must have the type of input 0, {output.dtype}",
        x.dtype,
    )
    ctx.require(
        len(x.shape) <= _MAX_RANK,
        f"input {index} must have at most {_MAX_RANK} dimensions",
        len(x.shape),
    )
    if x.dtype is DType.INT8:
        ctx.require(
            (x.scale, x.zero_point) == (output.scale, output.zero_point),
            f"int8 input {index} must have the output's scale and zero point, "
            f"{output.scale} and {output.zero_point}",
            f"{x.scale} and {x.zero_point}",
        )
    elif x.dtype is DType.INT16:
        ctx.require(x.zero_point == 0, f"int16 input {index} must have zero point 0", x.zero_point)


def evaluate(ctx: EvalContext, parts: Parts) -> None:
    """Copy every input to its place."""
    join(ctx, [ctx.input(index) for index in range(len(parts.sizes))], parts)


def bind(ctx: BindContext, parts: Parts) -> list[Step]:
    """One copy for each input."""
    return bind_join(ctx, [ctx.input(index) for index in range(len(parts.sizes))], parts)


OP = OpSpec(
    "CONCATENATION",
    prepare,
    evaluate,
    OpData(lp64=40, ilp32=24, compression=40),
    params="TfLiteConcatenationParams",
    bind=bind,
)
