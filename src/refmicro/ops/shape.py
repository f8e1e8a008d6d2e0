"""SHAPE: output = the input's dimensions.

Shapes: any input; the output holds an int32 for each dimension.
Quantization: the input's type and values do not matter.
Differs: an output of another length is refused; TFLM would write past its end or leave values out.
Source: `tensorflow/lite/micro/kernels/shape.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_LAST_TYPE = 22
"""FLOAT8_E5M2; the parser refuses other codes, and nothing reads them afterwards."""


def prepare(ctx: PrepareContext) -> tuple[Tensor, Tensor]:
    """Returns input and output."""
    ctx.require(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.node.input(0), ctx.node.outputs[0]
    ctx.require_shape(x is not None, "input 0 must be present", "absent")
    ctx.require_type("output", output, DType.INT32)
    out_type = ctx.options.get("out_type", 0)
    ctx.require(
        0 <= out_type <= _LAST_TYPE, "out_type must be a tensor type of the schema", out_type
    )
    ctx.require_shape(
        output.elements == len(x.shape), f"output must hold {len(x.shape)} values", output.elements
    )
    return x, output


def evaluate(ctx: EvalContext, tensors: tuple[Tensor, Tensor]) -> None:
    """The same for every row."""
    x, output = tensors
    ctx.set_output(0, np.array(x.shape, np.int32).reshape(1, *output.shape))


OP = OpSpec("SHAPE", prepare, evaluate, params="TfLiteShapeParams")
