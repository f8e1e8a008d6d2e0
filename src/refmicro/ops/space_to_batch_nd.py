"""SPACE_TO_BATCH_ND: pixels of every block go to different batches, after padding.

output[(i * block_w + j) * batch + b, h, w] = padded[b, h * block_h + i, w * block_w + j].

Shapes: input and output of 3 (batch, height, depth) or 4 dimensions; `block_shape` and `paddings`
((top, bottom), (left, right)) are int32, constant or computed. The output's declared shape decides
what is written; bottom and right are not read.
Quantization: float32 and int8. Padding is zero bytes, not the zero point.
Persistent: 4 bytes, the padding value, which TFLM never sets: it pads with what lies in the arena,
zero where the arena was zero before.
Differs: blocks below 1 and outputs of another depth are refused; TFLM would crash or write past
the end.
Source: `tensorflow/lite/micro/kernels/space_to_batch_nd.cc`,
`tensorflow/lite/kernels/internal/reference/space_to_batch_nd.h`.
"""

from __future__ import annotations

import numpy as np

from refmicro.ops._blocks import Blocks, Geometry, Layout, evaluate_blocks, prepare_blocks
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext


def misfit(geometry: Geometry) -> str:
    """Any output fits: what lies outside the input is padding."""
    return ""


def pixels(geometry: Geometry) -> np.ndarray:
    """The input pixel of each output pixel, -1 in the padding."""
    batch, height, width, _ = geometry.shape
    out_batch, out_height, out_width, _ = geometry.output_shape
    block_h, block_w = geometry.block
    top, left = geometry.corner
    b = np.arange(out_batch).reshape(-1, 1, 1)
    h = np.arange(out_height).reshape(1, -1, 1) * block_h + b // batch // block_w - top
    w = np.arange(out_width).reshape(1, 1, -1) * block_w + b // batch % block_w - left
    inside = (h >= 0) & (h < height) & (w >= 0) & (w < width)
    return np.where(inside, (b % batch * height + h) * width + w, -1)


LAYOUT = Layout("SPACE_TO_BATCH_ND", "paddings", misfit, pixels)


def prepare(ctx: PrepareContext) -> Blocks:
    """Check shapes and types."""
    return prepare_blocks(ctx, LAYOUT)


def evaluate(ctx: EvalContext, data: Blocks) -> None:
    """Copy pixels."""
    evaluate_blocks(ctx, data)


OP = OpSpec("SPACE_TO_BATCH_ND", prepare, evaluate, OpData(lp64=4, ilp32=4))
