"""SPACE_TO_DEPTH: output[b, h, w, (i * block + j) * depth + d] = input[b, h*block+i, w*block+j, d].

Shapes: input (batch, height, width, depth), height and width multiples of `block_size`; the output
is (batch, height / block, width / block, depth * block * block).
Quantization: float32 and int8; bytes are copied.
Persistent: the output's dimensions, 20 bytes.
Differs: an output of another shape is refused; TFLM replaces its shape.
Source: `tensorflow/lite/micro/kernels/space_to_depth.cc`,
`tensorflow/lite/kernels/internal/reference/space_to_depth.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType


def prepare(ctx: PrepareContext) -> tuple[int, tuple[int, ...]]:
    """Returns block size and the output's shape."""
    ctx.require(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    ctx.require(len(x.shape) == 4, "input must have 4 dimensions", len(x.shape))
    ctx.require_type("output", output, DType.FLOAT32, DType.INT8)
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    block = ctx.options.get("block_size", 0)
    ctx.require_shape(block > 0, "block_size must be above 0", block)
    batch, height, width, depth = x.shape
    ctx.require(
        height % block == 0 and width % block == 0,
        f"height and width must be multiples of {block}",
        f"{height} and {width}",
    )
    ctx.persistent(4 + 4 * len(output.shape))
    shape = (batch, height // block, width // block, depth * block * block)
    ctx.require_shape(
        output.shape == shape, f"output must have shape {list(shape)}", list(output.shape)
    )
    return block, shape


def evaluate(ctx: EvalContext, data: tuple[int, tuple[int, ...]]) -> None:
    """Copy blocks."""
    block, (batch, height, width, _) = data
    x = ctx.input(0)
    blocks = x.reshape(-1, height, block, width, block, x.shape[-1]).transpose(0, 1, 3, 2, 4, 5)
    ctx.set_output(0, np.ascontiguousarray(blocks).reshape(-1, batch, height, width, data[1][3]))


OP = OpSpec("SPACE_TO_DEPTH", prepare, evaluate, params="TfLiteSpaceToDepthParams")
