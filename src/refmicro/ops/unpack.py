"""UNPACK: the input cut into its indices along an axis, which goes.

Shapes: `num` outputs, as many as the input is long along `axis`, which may be negative; each output
holds the rest of the input's elements.
Quantization: float32, int8, int16 and int32; bytes are copied.
Differs: outputs that do not make up the input are refused; TFLM would read outside it.
Source: `tensorflow/lite/micro/kernels/unpack.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import Parts, bind_cut, cut, parts_along, positive_axis
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> Parts:
    """TFLM has no Prepare here; its Eval refuses types alone."""
    x, outputs = ctx.node.input(0), ctx.node.outputs
    ctx.require_shape(x is not None, "input 0 must be present", f"{len(ctx.node.inputs)} inputs")
    ctx.require_type("input", x, DType.FLOAT32, DType.INT32, DType.INT16, DType.INT8)
    count = ctx.options.get("num", 0)
    ctx.require_shape(
        count == len(outputs) > 0, f"num must be the number of outputs, {len(outputs)}", count
    )
    axis = positive_axis(ctx, ctx.options.get("axis", 0), len(x.shape), malformed=True)
    return parts_along(ctx, x, axis, [1] * count, outputs)


def evaluate(ctx: EvalContext, parts: Parts) -> None:
    """Copy every index."""
    cut(ctx, ctx.input(0), parts)


def bind(ctx: BindContext, parts: Parts) -> list[Step]:
    """Every piece where it lies, or copied."""
    return bind_cut(ctx, 0, parts)


OP = OpSpec("UNPACK", prepare, evaluate, params="TfLiteUnpackParams", bind=bind)
