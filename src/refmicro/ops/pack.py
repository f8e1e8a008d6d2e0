"""PACK: the inputs put together along a new axis.

Shapes: `values_count` inputs of one size; the output has one more dimension, of that size, at
`axis`, which may be negative.
Quantization: float32, int8, int16, int32 and int64; bytes are copied.
Differs: shapes that do not fit together are refused; TFLM would read and write outside the tensors.
Source: `tensorflow/lite/micro/kernels/pack.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import Parts, bind_join, join, parts_along, positive_axis
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType

_TYPES = (DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32, DType.INT64)


def prepare(ctx: PrepareContext) -> Parts:
    """TFLM has no Prepare here; its Eval refuses types alone."""
    inputs, outputs = ctx.node.inputs, ctx.node.outputs
    ctx.require_shape(len(outputs) > 0, "must have an output", 0)
    ctx.require_shape(
        None not in inputs and len(inputs) > 0, "must have inputs, all present", len(inputs)
    )
    output = outputs[0]
    ctx.require_type("output", output, *_TYPES)
    count = ctx.options.get("values_count", 0)
    ctx.require_shape(
        count == len(inputs), f"values_count must be the number of inputs, {len(inputs)}", count
    )
    axis = positive_axis(ctx, ctx.options.get("axis", 0), len(output.shape), malformed=True)
    return parts_along(ctx, output, axis, [1] * count, inputs)


def evaluate(ctx: EvalContext, parts: Parts) -> None:
    """Copy every input to its place."""
    join(ctx, [ctx.input(index) for index in range(len(parts.sizes))], parts)


def bind(ctx: BindContext, parts: Parts) -> list[Step]:
    """One copy for each input."""
    return bind_join(ctx, [ctx.input(index) for index in range(len(parts.sizes))], parts)


OP = OpSpec("PACK", prepare, evaluate, params="TfLitePackParams", bind=bind)
