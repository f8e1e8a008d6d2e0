"""RESIZE_NEAREST_NEIGHBOR: every output pixel is a copy of one input pixel.

index = floor((i + h) * s), rounded instead where `align_corners`, h 0.5 where `half_pixel_centers`;
s = input / output size, or (input - 1) / (output - 1) where `align_corners`; all in float32.
Shapes: input (N, height, width, C), constant size of 2 values, output (N, *size, C).
Quantization: int8, int16, float32; values are copied.
Source: `tensorflow/lite/micro/kernels/resize_nearest_neighbor.cc`,
`tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro.ops._resize import prepare_resize
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor


@dataclass(frozen=True)
class ResizeNearestNeighbor:
    """What eval needs."""

    input: Tensor
    output: Tensor
    align_corners: bool
    half_pixel_centers: bool

    @cached_property
    def pixels(self) -> np.ndarray:
        """The input pixel of each output pixel, counted row by row."""
        rows, columns = (self._nearest(self.input.shape[i], self.output.shape[i]) for i in (1, 2))
        return (rows[:, None] * self.input.shape[2] + columns).reshape(-1)

    def _nearest(self, size: int, out: int) -> np.ndarray:
        one = np.float32(1)
        scale = np.float32(size) / np.float32(out)
        if self.align_corners and out > 1:
            scale = np.float32(size - 1) / (np.float32(out) - one)
        offset = np.float32(0.5 if self.half_pixel_centers else 0)
        points = (np.arange(out).astype(np.float32) + offset) * scale
        if self.align_corners:
            # Halves go up: no point is negative.
            points = np.floor(points.astype(np.float64) + 0.5)
        return np.minimum(np.floor(points).astype(np.int64), size - 1)


def prepare(ctx: PrepareContext) -> ResizeNearestNeighbor:
    """Check types and shapes."""
    x, output = prepare_resize(ctx, DType.FLOAT32, DType.INT8, DType.INT16)
    align = bool(ctx.options.get("align_corners", False))
    return ResizeNearestNeighbor(
        x, output, align, bool(ctx.options.get("half_pixel_centers", False))
    )


def evaluate(ctx: EvalContext, data: ResizeNearestNeighbor) -> None:
    """Copies pixels."""
    x = ctx.input(0)
    flat = x.reshape(-1, data.input.shape[1] * data.input.shape[2], data.input.shape[3])
    ctx.set_output(0, flat.take(data.pixels, 1).reshape(x.shape[0], *data.output.shape))


OP = OpSpec(
    "RESIZE_NEAREST_NEIGHBOR", prepare, evaluate, params="TfLiteResizeNearestNeighborParams"
)
