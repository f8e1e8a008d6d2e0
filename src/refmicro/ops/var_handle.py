"""VAR_HANDLE: the id of the resource variable with these names.

Shapes: no input; the output holds one 32-bit id, the same in every invocation. A variable is known
by `container` and `shared_name`; without a container any container of that name fits.
Quantization: none; the output's type is resource.
Persistent: 4 bytes, which hold the id; the output points there and takes no room in the head.
Differs: an absent shared_name is refused, TFLM would follow a null pointer; an output that is a
variable tensor is refused, TFLM would reset the id with it.
Source: `tensorflow/lite/micro/kernels/var_handle.cc`,
`tensorflow/lite/micro/micro_resource_variable.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType


@dataclass(frozen=True)
class Handle:
    """The id as the output's value for a whole batch."""

    value: np.ndarray


def prepare(ctx: PrepareContext) -> Handle:
    """Find or create the variable."""
    outputs = ctx.node.outputs
    ctx.require_shape(len(outputs) == 1, "must have 1 output", len(outputs))
    output = outputs[0]
    ctx.require_shape(
        output.dtype in (DType.RESOURCE, DType.INT32)
        and output.elements == 1
        and not (output.is_variable or output.is_constant),
        "output must be one computed resource id",
        f"{output.dtype}{list(output.shape)}",
    )
    shared_name = ctx.options.get("shared_name")
    ctx.require_shape(shared_name is not None, "shared_name must be given", "none")
    identifier = ctx.model.resource_id(ctx.options.get("container"), shared_name)
    ctx.model.bind_resource(ctx.node.output_indices[0], identifier)
    return Handle(np.full((1, *output.shape), identifier, output.dtype.numpy))


def evaluate(ctx: EvalContext, data: Handle) -> None:
    """The id does not change."""
    ctx.set_output(0, data.value)


OP = OpSpec(
    "VAR_HANDLE", prepare, evaluate, OpData(lp64=4, ilp32=4), params="TfLiteVarHandleParams"
)
