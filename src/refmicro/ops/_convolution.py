"""What CONV_2D and DEPTHWISE_CONV_2D share: checks, multipliers, the float kernel.

Source: `tensorflow/lite/micro/kernels/{conv,depthwise_conv}_common.cc`,
`PopulateConvolutionQuantizationParams` in `tensorflow/lite/kernels/kernel_util.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._gemm import add_bias_and_clamp, add_products
from refmicro._jit import jit
from refmicro.ops import _convolution_bytes
from refmicro.ops._product import Product
from refmicro.ops._requantize import Requantizer, prepare_requantizer, require_zero_point
from refmicro.ops._spec import OpData, PrepareContext
from refmicro.ops._window import Window
from refmicro.types import Tensor

OP_DATA = OpData(lp64=72, ilp32=56, compression=8, cmsis_nn=60)
"""`OpDataConv`; CMSIS-NN adds a buffer index."""


@dataclass(frozen=True)
class Convolution(Product):
    """What eval needs: a product over every position of a window."""

    window: Window

    @cached_property
    def packed(self) -> _convolution_bytes.ByteConvolution:
        """The filter for `_convolution_bytes.steps`; needs `has_bytes`."""
        rescale, fill = self.requantize.rescale, self.input_zero_point
        return _convolution_bytes.pack(self.weights, self.folded_bias, rescale, self.window, fill)


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
    input_scale, output_scale = x.scale, output.scale
    reals = [input_scale * scale / output_scale for scale in scales]
    return prepare_requantizer(ctx, reals, output, wide=wide).broadcast(channels)


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
    values, terms, sums = images.reshape(-1), weights.reshape(-1), out.reshape(-1)
    height, width = images.shape[1], images.shape[2]
    depth, channels = weights.shape[3], weights.shape[4]
    # Divisions take longer than the sums of a short tap.
    per_group = channels // groups
    for n in range(out.shape[0]):
        row = n // images_per_row
        offsets = bias[row % bias.shape[0]]
        first_tap = row % weights.shape[0] * weights.shape[1] * weights.shape[2]
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                o = ((n * out.shape[1] + y) * out.shape[2] + x) * out.shape[3]
                for i in range(weights.shape[1]):
                    source_y = y * stride_y + i * dilation_y - pad_y
                    if source_y < 0 or source_y >= height:
                        continue
                    for j in range(weights.shape[2]):
                        source_x = x * stride_x + j * dilation_x - pad_x
                        if source_x < 0 or source_x >= width:
                            continue
                        v = ((n * height + source_y) * width + source_x) * images.shape[3]
                        w = (first_tap + i * weights.shape[2] + j) * depth * channels
                        if depth == 1 and per_group == 1:
                            _add_channels(sums, o, values, v, terms, w, channels)
                        else:
                            _add_groups(
                                sums, o, values, v, terms, w, depth, channels, groups, per_group
                            )
                add_bias_and_clamp(out[n, y, x], offsets, low, high)


@jit
def _add_groups(sums, o, values, v, terms, w, depth, channels, groups, per_group):
    """Adds one filter position's products; the position's filter is (depth, channels)."""
    for group in range(groups):
        shift, start = group * per_group, v + group * depth
        add_products(sums, o + shift, values, start, terms, w + shift, channels, depth, per_group)


@jit
def _add_channels(sums, o, values, v, terms, w, channels):
    """The same where every channel has a group of its own."""
    unsigned = np.uint64
    for i in range(channels):
        sums[unsigned(o + i)] += values[unsigned(v + i)] * terms[unsigned(w + i)]
