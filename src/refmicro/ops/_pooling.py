"""What the pooling operators share: checks, and sums or maxima over windows.

Source: `tensorflow/lite/micro/kernels/{pooling_common,l2_pool_2d}.cc`,
`tensorflow/lite/kernels/internal/reference/{,integer_ops/}pooling.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import f32
from refmicro.ops._activation import float_range, quantized_range
from refmicro.ops._requantize import require_zero_point
from refmicro.ops._spec import OpData, PrepareContext
from refmicro.ops._window import Window, prepare_window
from refmicro.types import DType, Tensor

OP_DATA = OpData(lp64=32, ilp32=32, cmsis_nn=36)
"""`OpDataPooling`; CMSIS-NN adds a buffer index."""

PARAMS = "TfLitePoolParams"

_SCALE_DIFFERENCE_MAX = 1.0e-6


@dataclass(frozen=True)
class Pooling:
    """What eval needs; `limits` are integers or float32 values, of the output's type."""

    window: Window
    output: Tensor
    limits: tuple


def prepare_images(ctx: PrepareContext, x: Tensor, output: Tensor) -> Window:
    """The window, after checks of shapes that TFLM does not make."""
    for what, tensor in (("input", x), ("output", output)):
        ctx.require_shape(len(tensor.shape) == 4, f"{what} must have 4 dimensions", tensor.shape)
    same = x.shape[0] == output.shape[0] and x.shape[3] == output.shape[3]
    ctx.require_shape(
        same,
        "input and output must hold as many images and channels",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    taps = ctx.options.get("filter_height", 0), ctx.options.get("filter_width", 0)
    return prepare_window(ctx, x.shape, output.shape, taps)


def prepare_pooling(ctx: PrepareContext) -> Pooling:
    """Check types, shapes and that no value is rescaled, derive padding and limits."""
    x, output = ctx.input(0), ctx.output(0)
    window = prepare_images(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    activation = ctx.options.get("fused_activation_function", 0)
    if x.dtype is DType.FLOAT32:
        return Pooling(window, output, float_range(activation))
    difference = abs(f32(x.scale - output.scale))
    ctx.require(
        difference <= _SCALE_DIFFERENCE_MAX,
        "input and output must have one scale",
        f"{x.scale} and {output.scale}",
    )
    ctx.require(
        x.zero_point == output.zero_point,
        "input and output must have one zero point",
        f"{x.zero_point} and {output.zero_point}",
    )
    require_zero_point(ctx, "output", output)
    return Pooling(window, output, quantized_range(activation, output))


def require_no_empty_window(ctx: PrepareContext, window: Window) -> None:
    """An average over nothing: TFLM stops there and leaves the rest of the output as it was."""
    least = window.height.counts.min() * window.width.counts.min()
    ctx.require_shape(
        least > 0,
        "every output must look at one input at least",
        f"{window.height.out} x {window.width.out} outputs",
    )


def counts(window: Window) -> np.ndarray:
    """How many inputs each output pixel looks at, int64 of shape (height, width, 1)."""
    return window.height.counts[:, None, None] * window.width.counts[None, :, None]


def clamp_float(values: np.ndarray, limits: tuple) -> np.ndarray:
    """float32 values between limits; a NaN passes through, as in C++."""
    low, high = limits
    values = np.where(values < low, low, values)
    return np.where(high < values, high, values)


def float_means(sums: np.ndarray, window: Window, limits: tuple, *, root: bool = False):
    """float32 sums divided by how many inputs they have, rooted where asked for, and clamped."""
    divisors = counts(window).reshape(-1).astype(np.float32)
    _float_means(sums.reshape(-1, divisors.size, sums.shape[-1]), divisors, root, *limits)
    return sums


@jit
def _float_means(sums, divisors, root, low, high):
    for n in range(sums.shape[0]):
        for pixel in range(sums.shape[1]):
            line, divisor = sums[n, pixel], divisors[pixel]
            if root:
                for k in range(line.size):
                    line[k] = np.sqrt(line[k] / divisor)
            else:
                for k in range(line.size):
                    line[k] = line[k] / divisor
            for k in range(line.size):
                value = low if line[k] < low else line[k]
                line[k] = high if high < value else value


def rounded_means(sums: np.ndarray, window: Window, limits: tuple, dtype: np.dtype) -> np.ndarray:
    """int32 sums divided by how many inputs they have, to the nearest, halves away from zero."""
    divisors = counts(window).reshape(-1)
    out = np.empty(sums.shape, dtype)
    shape = -1, divisors.size, sums.shape[-1]
    _rounded_means(sums.reshape(shape), divisors, *limits, out.reshape(shape))
    return out


@jit
def _rounded_means(sums, divisors, low, high, out):
    """Divides by multiplying with the inverse: (m + 1/2) / d is at least 1 / 2d away from every
    integer, far more than the double's rounding, so that its whole part is that of m / d."""
    for n in range(sums.shape[0]):
        for pixel in range(sums.shape[1]):
            line, target = sums[n, pixel], out[n, pixel]
            half, inverse = divisors[pixel] // 2 + 0.5, 1.0 / divisors[pixel]
            for k in range(line.size):
                mean = np.int32((abs(np.float64(line[k])) + half) * inverse)
                mean = mean if line[k] > 0 else -mean
                target[k] = min(max(mean, low), high)


def window_sums(images: np.ndarray, window: Window, dtype: type, *, square: bool = False):
    """Sums of (squared) values, in the order of rows and columns, each step rounded to `dtype`.

    Returns:
        Shape (N, output height, output width, C).
    """
    out = np.zeros(_shape(images, window), dtype)
    _window_sums(np.ascontiguousarray(images), *_steps(window), square, out)
    return out


def window_maxima(images: np.ndarray, window: Window) -> np.ndarray:
    """Largest values; the type's lowest finite one where there is none. NaN is never the largest.

    Returns:
        Shape (N, output height, output width, C), of the images' type.
    """
    limits = np.finfo(images.dtype) if images.dtype.kind == "f" else np.iinfo(images.dtype)
    out = np.full(_shape(images, window), limits.min, images.dtype)
    _window_maxima(np.ascontiguousarray(images), *_steps(window), out)
    return out


def _shape(images: np.ndarray, window: Window) -> tuple[int, ...]:
    return images.shape[0], window.height.out, window.width.out, images.shape[3]


def _steps(window: Window) -> tuple[int, ...]:
    axes = window.height, window.width
    return tuple(step for axis in axes for step in (axis.filter, axis.stride, axis.pad))


@jit(inline=True)
def _clip(start, taps, size):
    """First and last tap, exclusive, that fall on the image."""
    return max(0, -start), min(taps, size - start)


@jit
def _window_sums(images, taps_y, stride_y, pad_y, taps_x, stride_x, pad_x, square, out):
    """Flat arrays with unsigned indices: views would cost more than short runs do."""
    unsigned = np.uint64
    source, sums, position = images.reshape(-1), out.reshape(-1), 0
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            top = y * stride_y - pad_y
            first_y, last_y = _clip(top, taps_y, height)
            for x in range(out.shape[2]):
                left = x * stride_x - pad_x
                first_x, last_x = _clip(left, taps_x, width)
                for i in range(first_y, last_y):
                    for j in range(first_x, last_x):
                        base = ((n * height + top + i) * width + left + j) * channels
                        if square:
                            for k in range(channels):
                                value = source[unsigned(base + k)]
                                sums[unsigned(position + k)] += value * value
                        else:
                            for k in range(channels):
                                sums[unsigned(position + k)] += source[unsigned(base + k)]
                position += channels


@jit
def _window_maxima(images, taps_y, stride_y, pad_y, taps_x, stride_x, pad_x, out):
    unsigned = np.uint64
    source, maxima, position = images.reshape(-1), out.reshape(-1), 0
    height, width, channels = images.shape[1], images.shape[2], images.shape[3]
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            top = y * stride_y - pad_y
            first_y, last_y = _clip(top, taps_y, height)
            for x in range(out.shape[2]):
                left = x * stride_x - pad_x
                first_x, last_x = _clip(left, taps_x, width)
                for i in range(first_y, last_y):
                    for j in range(first_x, last_x):
                        base = ((n * height + top + i) * width + left + j) * channels
                        for k in range(channels):
                            old = maxima[unsigned(position + k)]
                            new = source[unsigned(base + k)]
                            maxima[unsigned(position + k)] = new if old < new else old
                position += channels
