"""READ_VARIABLE: output = the resource variable that input 0 names.

Shapes: input 0 holds one id; the output has as many bytes as the variable.
Quantization: any type, bytes are copied.
Differs: a variable of another size, or one that no ASSIGN_VARIABLE ever fixed the size of, is
refused during the run; TFLM copies as many bytes as the variable has.
Source: `tensorflow/lite/micro/kernels/read_variable.cc`,
`tensorflow/lite/micro/micro_resource_variable.cc`.
"""

from __future__ import annotations

from refmicro.errors import InvalidModelError
from refmicro.ops._resource import resource_id
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


def prepare(ctx: PrepareContext) -> Tensor:
    """Returns the output."""
    ctx.require_shape(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require_shape(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    handle = ctx.input(0)
    ctx.require_shape(
        handle.dtype in (DType.RESOURCE, DType.INT32) and handle.elements == 1,
        "input 0 must be one resource id",
        f"{handle.dtype}{list(handle.shape)}",
    )
    ctx.model.resource_count()
    return ctx.node.outputs[0]


def evaluate(ctx: EvalContext, output: Tensor) -> None:
    """A view of the variable's bytes."""
    raw = ctx.read_resource(resource_id(ctx))
    if raw.shape[1] != output.nbytes:
        raise InvalidModelError(
            f"READ_VARIABLE must read {output.nbytes} bytes: the variable has {raw.shape[1]}",
            hint="the file is damaged; convert the model again",
        )
    ctx.set_output(0, raw.view(output.dtype.numpy).reshape(raw.shape[0], *output.shape))


OP = OpSpec("READ_VARIABLE", prepare, evaluate)
