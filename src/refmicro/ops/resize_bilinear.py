"""RESIZE_BILINEAR: every output pixel is a weighted mean of up to four input pixels.

point = i * s, or (i + 0.5) * s - 0.5 where `half_pixel_centers`; s = input / output size, or (input
- 1) / (output - 1) where `align_corners`. int8: points in 1/1024, the mean rounded to the nearest,
halves away from zero. float32: in float32 throughout, the four terms in TFLM's order.
Shapes: input (N, height, width, C), constant size of 2 values, output (N, *size, C).
Quantization: int8, float32; scales are not compared.
Differs: sizes for which the rounded scale leads beyond the input's last pixel are refused; TFLM
would read what lies there. Which NaN a float is, is not promised.
Source: `tensorflow/lite/micro/kernels/resize_bilinear.cc`,
`tensorflow/lite/kernels/internal/reference/resize_bilinear.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.ops._resize import prepare_resize
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_ONE = 1 << 10
"""Integer points are in units of 1/1024."""


@dataclass(frozen=True)
class ResizeBilinear:
    """What eval needs."""

    input: Tensor
    output: Tensor
    align_corners: bool
    half_pixel_centers: bool

    def integer_scale(self, axis: int) -> int:
        """Input units of 1/1024 to an output step."""
        size, out = self._sizes(axis)
        return (_ONE * size + out // 2) // out

    def _sizes(self, axis: int) -> tuple[int, int]:
        size, out = self.input.shape[axis], self.output.shape[axis]
        return (size - 1, out - 1) if self.align_corners and out > 1 else (size, out)

    def integer_point(self, axis: int, index: int) -> int:
        """The point of output `index`, in 1/1024."""
        scale = self.integer_scale(axis)
        half = scale // 2 - (1 << 9) if self.half_pixel_centers else 0
        return index * scale + half

    @cached_property
    def integer_axes(self) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
        """(lower index, upper index, weight of the upper one) of rows and of columns."""
        return tuple(self._integer_axis(axis) for axis in (1, 2))

    def _integer_axis(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = self.integer_point(axis, 0) + (
            np.arange(self.output.shape[axis]) * self.integer_scale(axis)
        )
        # C's division truncates; below 0 both ends are cut to the first pixel.
        lower = np.maximum(points // _ONE, 0)
        upper = np.minimum(np.maximum(-(-points // _ONE), 0), self.input.shape[axis] - 1)
        return lower, upper, (points - _ONE * lower).astype(np.int32)

    @cached_property
    def float_axes(self) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
        """The same for float32."""
        return tuple(self._float_axis(axis) for axis in (1, 2))

    def _float_axis(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size, out = self._sizes(axis)
        scale, half = np.float32(size) / np.float32(out), np.float32(0.5)
        index = np.arange(self.output.shape[axis]).astype(np.float32)
        points = (index + half) * scale - half if self.half_pixel_centers else index * scale
        last = self.input.shape[axis] - 1
        lower = np.clip(np.floor(points).astype(np.int64), 0, last)
        upper = np.minimum(np.ceil(points).astype(np.int64), last)
        return lower, upper, points - lower.astype(np.float32)


def prepare(ctx: PrepareContext) -> ResizeBilinear:
    """Check types, shapes, options, and that no point lies beyond the input."""
    x, output = prepare_resize(ctx, DType.FLOAT32, DType.INT8)
    align = bool(ctx.options.get("align_corners", False))
    half = bool(ctx.options.get("half_pixel_centers", False))
    ctx.require(
        not (align and half),
        "half_pixel_centers must be false where align_corners is true",
        "both are true",
    )
    data = ResizeBilinear(x, output, align, half)
    for axis in (1, 2) if x.dtype is DType.INT8 else ():
        last = data.integer_point(axis, output.shape[axis] - 1) // _ONE
        ctx.require_shape(
            last < x.shape[axis],
            "the last output must lie inside the input",
            f"{x.shape[axis]} to {output.shape[axis]} leads to {last}",
        )
    return data


def evaluate(ctx: EvalContext, data: ResizeBilinear) -> None:
    """Two rows and two columns of each output."""
    x = ctx.input(0)
    images = np.ascontiguousarray(x).reshape(-1, *x.shape[2:])
    out = np.empty((images.shape[0], *data.output.shape[1:]), x.dtype)
    if x.dtype == np.int8:
        rows, columns = data.integer_axes
        _integers(images, *rows, *columns, out)
    else:
        rows, columns = data.float_axes
        _floats(images, *rows, *columns, out)
    ctx.set_output(0, out.reshape(x.shape[0], *data.output.shape))


@jit
def _integers(images, y0, y1, dy, x0, x1, dx, out):
    """Exact in int32: |int8| * 2^10 * 2^10, a little more outside of the edges."""
    one = 1024
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            upper, lower = images[n, y0[y]], images[n, y1[y]]
            for x in range(out.shape[2]):
                a, b, c, d = upper[x0[x]], lower[x0[x]], upper[x1[x]], lower[x1[x]]
                # A weighted mean of integers is the same whichever way it is summed.
                wa = np.int32((one - dy[y]) * (one - dx[x]))
                wb = np.int32(dy[y] * (one - dx[x]))
                wc = np.int32((one - dy[y]) * dx[x])
                wd = np.int32(dy[y] * dx[x])
                pixel = out[n, y, x]
                for k in range(pixel.size):
                    total = np.int32(a[k] * wa + b[k] * wb + c[k] * wc + d[k] * wd)
                    mean = (abs(total) + (1 << 19)) >> 20
                    pixel[k] = mean if total > 0 else -mean


@jit
def _floats(images, y0, y1, dy, x0, x1, dx, out):
    """TFLM's four terms in its order, each step rounded to float32; 0 is added at the end."""
    one, zero = np.float32(1), np.float32(0)
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            upper, lower, down = images[n, y0[y]], images[n, y1[y]], dy[y]
            up = one - down
            for x in range(out.shape[2]):
                a, b, c, d = upper[x0[x]], lower[x0[x]], upper[x1[x]], lower[x1[x]]
                right = dx[x]
                left = one - right
                pixel = out[n, y, x]
                for k in range(pixel.size):
                    total = a[k] * up * left + b[k] * down * left
                    pixel[k] = total + c[k] * up * right + d[k] * down * right + zero


OP = OpSpec("RESIZE_BILINEAR", prepare, evaluate, params="TfLiteResizeBilinearParams")
