"""SQUEEZE: the same values without some dimensions of size 1.

Shapes: input of at most 8 dimensions; `squeeze_dims` names those that go, negative from the end,
none means all of size 1. The output's declared shape must hold as many values, and its dimensions
must not be smaller than those that stay.
Quantization: any type of whole bytes, bytes are copied.
Differs: an output of another type is refused, TFLM copies bytes if there are as many; int4 is
refused, TFLM would copy too much.
Source: `tensorflow/lite/micro/kernels/squeeze.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import bind_same, evaluate_same, require_same_type
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType

_MAX_RANK = 8


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the output's shape."""
    ctx.require(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    rank = len(x.shape)
    ctx.require(rank <= _MAX_RANK, f"input must have at most {_MAX_RANK} dimensions", rank)
    named = ctx.options.get("squeeze_dims", ())
    ctx.require(len(named) <= _MAX_RANK, f"squeeze_dims must name at most {_MAX_RANK}", len(named))
    gone = set()
    for axis in named:
        at = axis + rank if axis < 0 else axis
        ctx.require(
            0 <= at < rank and x.shape[at] == 1,
            f"squeeze_dims must name dimensions of size 1 of {list(x.shape)}",
            axis,
        )
        gone.add(at)
    if not named:
        gone = {axis for axis, size in enumerate(x.shape) if size == 1}
    kept = [size for axis, size in enumerate(x.shape) if axis not in gone]
    ctx.require(
        len(output.shape) >= len(kept)
        and all(size <= out for size, out in zip(kept, output.shape, strict=False)),
        f"output must have room for {kept}",
        list(output.shape),
    )
    ctx.require(x.nbytes == output.nbytes, f"output must have {x.nbytes} bytes", output.nbytes)
    require_same_type(ctx, x, output)
    ctx.require_shape(x.dtype is not DType.INT4, "input must have whole bytes", x.dtype)
    return output.shape


OP = OpSpec("SQUEEZE", prepare, evaluate_same, params="TfLiteSqueezeParams", bind=bind_same)
