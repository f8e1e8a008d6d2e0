"""What CONV_2D and DEPTHWISE_CONV_2D share: checks, multipliers, the float kernel.

Source: `tensorflow/lite/micro/kernels/{conv,depthwise_conv}_common.cc`,
`PopulateConvolutionQuantizationParams` in `tensorflow/lite/kernels/kernel_util.cc`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops._product import Product
from refmicro.ops._requantize import Requantizer, prepare_requantizer, require_zero_point
from refmicro.ops._spec import OpData, PrepareContext
from refmicro.ops._window import Window
from refmicro.types import Tensor

OP_DATA = OpData(lp64=72, ilp32=56, compression=8, cmsis_nn=60)
"""`OpDataConv`; CMSIS-NN adds a buffer index."""

BLOCK_BYTES = 1 << 20
"""Images are worked on in blocks whose patches and sums stay in the second-level cache."""


@dataclass(frozen=True)
class Convolution(Product):
    """What eval needs: a product over every position of a window."""

    window: Window


def require_image(ctx: PrepareContext, what: str, tensor: Tensor) -> None:
    """TFLM reads four dimensions without looking how many there are."""
    ctx.require_shape(len(tensor.shape) == 4, f"{what} must have 4 dimensions", tensor.shape)


def per_channel_requantizer(
    ctx: PrepareContext, x: Tensor, w: Tensor, output: Tensor, axis: int, *, wide: bool
) -> Requantizer:
    """Multipliers from double products of scales, one for each position of the filter's `axis`."""
    channels = w.shape[axis]
    ctx.require(w.quantization.is_affine, "filter must be quantized", "no scale or no zero point")
    ctx.require(x.quantization.is_affine, "input must be quantized", "no scale or no zero point")
    scales = w.quantization.scale
    ctx.require(
        len(scales) in (1, channels),
        f"filter must have 1 scale or one for each of {channels} channels",
        f"{len(scales)} scales",
    )
    if len(scales) > 1:
        quantized = w.quantization.quantized_dimension
        size = w.shape[quantized] if 0 <= quantized < 4 else 0
        ctx.require(
            size == channels,
            f"the quantized dimension must have {channels} channels",
            f"dimension {quantized} has {size}",
        )
    require_zero_point(ctx, "input", x)
    ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
    reals = [x.scale * scale / output.scale for scale in scales]
    return prepare_requantizer(ctx, reals, output, wide=wide).broadcast(channels)


def image_blocks(count: int, image_bytes: int) -> Iterator[slice]:
    """Slices that divide `count` images into blocks of about `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // max(1, image_bytes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def float_convolution(
    images: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    groups: int,
    window: Window,
    limits: tuple[np.float32, np.float32],
) -> np.ndarray:
    """float32 sums in the order of filter rows, columns, channels; positions outside are left out.

    Args:
        images: (B * N, height, width, groups * depth).
        weights: (B or 1, taps * depth, channels).
        bias: (B or 1, channels).
        groups: the channels of each group see `depth` input channels of their own.
        window: geometry.
        limits: smallest and largest output.

    Returns:
        (B * N * output pixels, channels).
    """
    batch = max(weights.shape[0], bias.shape[0])
    count, channels = images.shape[0], weights.shape[2]
    out = np.zeros((count, window.height.out, window.width.out, channels), np.float32)
    shape = (window.height.filter, window.width.filter, -1, channels)
    typed = np.ascontiguousarray(weights).reshape(weights.shape[0], *shape)
    steps = tuple((axis.stride, axis.dilation, axis.pad) for axis in (window.height, window.width))
    _float_convolution(
        np.ascontiguousarray(images),
        typed,
        np.ascontiguousarray(bias),
        max(1, count // batch),
        groups,
        *steps[0],
        *steps[1],
        *limits,
        out,
    )
    return out.reshape(-1, channels)


@jit
def _float_convolution(
    images,
    weights,
    bias,
    images_per_row,
    groups,
    stride_y,
    dilation_y,
    pad_y,
    stride_x,
    dilation_x,
    pad_x,
    low,
    high,
    out,
):
    """`weights` is (B or 1, filter height, filter width, depth, channels)."""
    for n in range(out.shape[0]):
        row = n // images_per_row
        taps, offsets = weights[row % weights.shape[0]], bias[row % bias.shape[0]]
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                sums = out[n, y, x]
                for i in range(taps.shape[0]):
                    source_y = y * stride_y + i * dilation_y - pad_y
                    if source_y < 0 or source_y >= images.shape[1]:
                        continue
                    for j in range(taps.shape[1]):
                        source_x = x * stride_x + j * dilation_x - pad_x
                        if 0 <= source_x < images.shape[2]:
                            _add_tap(images[n, source_y, source_x], taps[i, j], groups, sums)
                for channel in range(sums.size):
                    value = sums[channel] + offsets[channel]
                    value = low if value < low else value
                    sums[channel] = high if high < value else value


@jit(inline=True)
def _add_tap(pixel, tap, groups, sums):
    """Adds one filter position's products, `tap` being (depth, channels)."""
    depth, width = tap.shape[0], tap.shape[1] // groups
    for k in range(depth):
        if width == 1:
            for group in range(groups):
                sums[group] += pixel[group * depth + k] * tap[k, group]
        else:
            for group in range(groups):
                factor = pixel[group * depth + k]
                for channel in range(group * width, (group + 1) * width):
                    sums[channel] += factor * tap[k, channel]
