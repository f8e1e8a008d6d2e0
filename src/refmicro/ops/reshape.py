"""RESHAPE: the same values under another shape.

Shapes: the output's declared shape must hold as many elements as the input; a shape input is not
read at run time.
Quantization: any type, bytes are copied.
Differs: the legacy shape [0] for a scalar is refused; TFLM writes a new shape into the model.
A constant of int4 is refused; TFLM copies a byte for each of its values and reads past its end.
Source: `tensorflow/lite/micro/kernels/reshape{,_common}.cc`.
"""

from __future__ import annotations

from refmicro.ops._movement import bind_same, evaluate_same
from refmicro.ops._spec import OpSpec, PrepareContext
from refmicro.types import DType

_MAX_RANK = 8
"""Room in `TfLiteReshapeParams`."""


def prepare(ctx: PrepareContext) -> tuple[int, ...]:
    """Returns the output's shape."""
    named = len(ctx.options.get("new_shape", ()))
    ctx.require(named <= _MAX_RANK, f"new_shape must have at most {_MAX_RANK} dimensions", named)
    ctx.require(len(ctx.node.inputs) in (1, 2), "must have 1 or 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_shape(
        len(ctx.node.inputs) == 2 or output.shape != (0,),
        "a scalar output must have the shape [] where there is no shape input",
        "the legacy shape [0]",
    )
    ctx.require_shape(
        x.dtype is not DType.INT4 or not x.is_constant,
        "a constant of int4 must not be reshaped",
        f"{x.dtype}{list(x.shape)}",
    )
    ctx.require(
        x.elements == output.elements,
        "input and output must have as many elements",
        f"{x.elements} and {output.elements}",
    )
    return output.shape


OP = OpSpec("RESHAPE", prepare, evaluate_same, params="TfLiteReshapeParams", bind=bind_same)
