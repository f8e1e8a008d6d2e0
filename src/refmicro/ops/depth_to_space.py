"""DEPTH_TO_SPACE: output[b, h*block+i, w*block+j, d] = input[b, h, w, (i * block + j) * depth + d].

Shapes: input (batch, height, width, depth * block * block); the output is
(batch, height * block, width * block, depth).
Quantization: float32 and int8; bytes are copied.
Persistent: the output's dimensions, 20 bytes.
Differs: an output of another shape is refused; TFLM replaces its shape.
Source: `tensorflow/lite/micro/kernels/depth_to_space.cc`,
`tensorflow/lite/kernels/internal/reference/depth_to_space.h`.
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
    ctx.require(block > 0, "block_size must be above 0", block)
    batch, height, width, channels = x.shape
    ctx.require(
        channels % (block * block) == 0,
        f"the last dimension must be a multiple of {block * block}",
        channels,
    )
    ctx.persistent(4 + 4 * len(output.shape))
    shape = (batch, height * block, width * block, channels // (block * block))
    ctx.require_shape(
        output.shape == shape, f"output must have shape {list(shape)}", list(output.shape)
    )
    return block, shape


def evaluate(ctx: EvalContext, data: tuple[int, tuple[int, ...]]) -> None:
    """Copy blocks."""
    block, shape = data
    x = ctx.input(0)
    _, _, height, width, _ = x.shape
    blocks = x.reshape(-1, height, width, block, block, shape[3]).transpose(0, 1, 3, 2, 4, 5)
    ctx.set_output(0, np.ascontiguousarray(blocks).reshape(x.shape[0], *shape))


OP = OpSpec("DEPTH_TO_SPACE", prepare, evaluate, params="TfLiteDepthToSpaceParams")
