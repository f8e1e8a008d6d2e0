"""SPLIT_V: the input cut into pieces of given sizes along an axis.

Shapes: input 0 is cut, input 1 holds the sizes and is not read, the outputs' declared shapes count;
input 2 is the axis, a constant int32 that may be negative.
Quantization: float32, int8, int16 and int32; bytes are copied.
Differs: outputs that do not make up the input are refused; TFLM would read outside it.
Source: `tensorflow/lite/micro/kernels/split_v.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import Parts, bind_cut, cut, int32_words, parts_along, positive_axis
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Parts:
    """Only the axis is looked at as TFLM's Prepare does; its Eval checks the rest."""
    ctx.require(len(ctx.node.inputs) == 3, "must have 3 inputs", len(ctx.node.inputs))
    axis_values = int32_words(ctx, "axis", ctx.input(2), 1)
    x = ctx.node.input(0)
    ctx.require_shape(x is not None, "input 0 must be present", "absent")
    axis = positive_axis(ctx, axis_values[0], len(x.shape))
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32)
    outputs = ctx.node.outputs
    ctx.require_shape(
        len(outputs) > 0 and all(len(output.shape) > axis for output in outputs),
        f"outputs must have more than {axis} dimensions",
        [list(output.shape) for output in outputs],
    )
    return parts_along(ctx, x, axis, [output.shape[axis] for output in outputs], outputs)


def evaluate(ctx: EvalContext, parts: Parts) -> None:
    """Copy every piece."""
    cut(ctx, ctx.input(0), parts)


def bind(ctx: BindContext, parts: Parts) -> list[Step]:
    """Every piece where it lies, or copied."""
    return bind_cut(ctx, 0, parts)


OP = OpSpec("SPLIT_V", prepare, evaluate, params="TfLiteSplitVParams", bind=bind)
