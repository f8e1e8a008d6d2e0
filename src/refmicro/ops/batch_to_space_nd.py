"""BATCH_TO_SPACE_ND: pixels of different batches go to one block, then the edges are cropped.

full[b, h * block_h + i, w * block_w + j] = input[(i * block_w + j) * batch + b, h, w], of which the
output is a part from (crop top, crop left).

Shapes: input and output of 3 (batch, height, depth) or 4 dimensions; `block_shape` and `crops`
((top, bottom), (left, right)) are int32, constant or computed. The output's declared shape decides
what is kept; bottom and right are not read.
Quantization: float32 and int8; bytes are copied.
Differs: an output that the blocks do not cover exactly once is refused; TFLM would leave values out
or write past the end.
Source: `tensorflow/lite/micro/kernels/batch_to_space_nd.cc`,
`tensorflow/lite/kernels/internal/reference/batch_to_space_nd.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._blocks import Blocks, Geometry, Layout, evaluate_blocks, prepare_blocks
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext


def misfit(geometry: Geometry) -> str:
    """Every output pixel must come from just one input pixel."""
    batch, height, width, _ = geometry.shape
    out_batch, out_height, out_width, _ = geometry.output_shape
    block_h, block_w = geometry.block
    top, left = geometry.corner
    if batch != out_batch * block_h * block_w:
        return f"{batch} batches for {out_batch} with blocks {[block_h, block_w]}"
    high, wide = height * block_h - out_height, width * block_w - out_width
    if not (0 <= top <= high and 0 <= left <= wide):
        return f"crops from {[top, left]}, at most {[high, wide]}"
    return ""


def pixels(geometry: Geometry) -> np.ndarray:
    """The input pixel of each output pixel."""
    _, height, width, _ = geometry.shape
    out_batch, out_height, out_width, _ = geometry.output_shape
    block_h, block_w = geometry.block
    b = np.arange(out_batch).reshape(-1, 1, 1)
    h = np.arange(out_height).reshape(1, -1, 1) + geometry.corner[0]
    w = np.arange(out_width).reshape(1, 1, -1) + geometry.corner[1]
    source = (h % block_h * block_w + w % block_w) * out_batch + b
    return (source * height + h // block_h) * width + w // block_w


LAYOUT = Layout("BATCH_TO_SPACE_ND", "crops", misfit, pixels)


def prepare(ctx: PrepareContext) -> Blocks:
    """Check shapes and types."""
    return prepare_blocks(ctx, LAYOUT)


def evaluate(ctx: EvalContext, data: Blocks) -> None:
    """Copy pixels."""
    evaluate_blocks(ctx, data)


OP = OpSpec("BATCH_TO_SPACE_ND", prepare, evaluate)
