"""SPLIT: the input cut into equal pieces along an axis.

Shapes: input 0 is the axis, a constant int32 that may be negative; input 1 is cut into as many
pieces as there are outputs.
Quantization: float32, int8, int16 and int32; bytes are copied.
Differs: outputs that do not make up the input are refused; TFLM would read outside it.
Source: `tensorflow/lite/micro/kernels/split.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import Parts, bind_cut, cut, int32_words, parts_along, positive_axis
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Parts:
    """Only the axis is looked at as TFLM's Prepare does; its Eval checks the rest."""
    axis_values = int32_words(ctx, "axis", ctx.input(0), 1)
    x = ctx.node.input(1)
    ctx.require_shape(x is not None, "input 1 must be present", f"{len(ctx.node.inputs)} inputs")
    outputs = ctx.node.outputs
    ctx.require_shape(len(outputs) > 0, "must have an output", 0)
    axis = positive_axis(ctx, axis_values[0], len(x.shape))
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16, DType.INT32)
    ctx.require_shape(
        len(outputs[0].shape) > axis,
        f"outputs must have more than {axis} dimensions",
        list(outputs[0].shape),
    )
    size = outputs[0].shape[axis]
    return parts_along(ctx, x, axis, [size] * len(outputs), outputs)


def evaluate(ctx: EvalContext, parts: Parts) -> None:
    """Copy every piece."""
    cut(ctx, ctx.input(1), parts)


def bind(ctx: BindContext, parts: Parts) -> list[Step]:
    """Every piece where it lies, or copied."""
    return bind_cut(ctx, 1, parts)


OP = OpSpec("SPLIT", prepare, evaluate, params="TfLiteSplitParams", bind=bind)
