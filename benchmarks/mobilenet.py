"""An int8 model in the shape of MobileNet v2, with weights from a seed.

Speed does not depend on what a network has learned, only on its shapes and on values that do not
all end at a limit; scales are chosen so that most activations lie between them.
Source of the shapes: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
table 2; channels are multiples of 8, as in the authors' code.
"""

from __future__ import annotations

import math

import numpy as np

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.types import DType, Quantization, Tensor

_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion, channels, repetitions, stride of the first)."""

_SAME, _RELU6, _NONE = 0, 3, 0
_SPREAD = 73.0
"""Standard deviation of uniform int8 values."""


def _channels(count: float) -> int:
    """The nearest multiple of 8, no more than a tenth below."""
    rounded = max(8, int(count + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * count else rounded


class _Builder:
    """Tensors and operators in order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []

    def tensor(self, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        quantization = Quantization((float(np.float32(scale)),), (zero_point,))
        name = f"activation_{len(self.tensors)}"
        self.tensors.append(Tensor(name, DType.INT8, shape, quantization))
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, dtype: DType, scales: np.ndarray, axis: int) -> int:
        scales = tuple(float(np.float32(scale)) for scale in scales)
        quantization = Quantization(scales, (0,) * len(scales), axis)
        name, data = f"constant_{len(self.tensors)}", values.astype(dtype.numpy).tobytes()
        self.tensors.append(Tensor(name, dtype, values.shape, quantization, data))
        return len(self.tensors) - 1

    def convolve(
        self, x: int, channels: int, taps: int, stride: int, relu6: bool, *, depthwise: bool = False
    ) -> int:
        """A convolution with SAME padding; returns its output."""
        source = self.tensors[x]
        height, width = (math.ceil(size / stride) for size in source.shape[1:3])
        depth = 1 if depthwise else source.shape[3]
        shape = (1, taps, taps, channels) if depthwise else (channels, taps, taps, depth)
        axis = 3 if depthwise else 0
        real = 2.0 / (math.sqrt(taps * taps * depth) * _SPREAD * source.quantization.scale[0])
        scales = real / _SPREAD * self.rng.uniform(0.7, 1.4, channels)
        w = self.constant(self.rng.integers(-127, 128, shape), DType.INT8, scales, axis)
        bias_scales = scales * source.quantization.scale[0]
        bias = self.rng.normal(1.0 if relu6 else 0.0, 0.5, channels) / bias_scales
        b = self.constant(np.rint(bias), DType.INT32, bias_scales, 0)
        scale, point = (6 / 255, -128) if relu6 else (0.06, 3)
        out = self.tensor((1, height, width, channels), scale, point)
        options = {
            "padding": _SAME,
            "stride_h": stride,
            "stride_w": stride,
            "fused_activation_function": _RELU6 if relu6 else _NONE,
            "dilation_h_factor": 1,
            "dilation_w_factor": 1,
        }
        name, table = "CONV_2D", "Conv2DOptions"
        if depthwise:
            name, table = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            options["depth_multiplier"] = 1
        self.add(name, (x, w, b), out, options, table)
        return out

    def add(
        self, name: str, inputs: tuple[int, ...], output: int, options: dict, table: str
    ) -> None:
        """Append an operator."""
        code = OperatorCode(name, "", 1)
        self.operators.append(Operator(code, inputs, (output,), options, table))


def mobilenet_v2(*, size: int = 96, width: float = 0.35, classes: int = 10, seed: int = 0) -> Model:
    """The model: `size` x `size` x 3 int8 in, one value a class out.

    Args:
        size: height and width of the image.
        width: factor of all channels.
        classes: outputs.
        seed: of the weights.
    """
    net = _Builder(seed)
    first = net.tensor((1, size, size, 3), 1 / 128, 0)
    x = net.convolve(first, _channels(32 * width), 3, 2, True)
    for expansion, channels, count, stride in _BLOCKS:
        for repeat in range(count):
            x = _bottleneck(net, x, expansion, _channels(channels * width), 1 if repeat else stride)
    x = net.convolve(x, max(1280, _channels(1280 * width)), 1, 1, True)
    _, height, wide, channels = net.tensors[x].shape
    pooled = net.tensor((1, 1, 1, channels), 6 / 255, -128)
    options = {
        "padding": 1,
        "stride_h": 1,
        "stride_w": 1,
        "filter_height": height,
        "filter_width": wide,
        "fused_activation_function": _NONE,
    }
    net.add("AVERAGE_POOL_2D", (x,), pooled, options, "Pool2DOptions")
    out = net.convolve(pooled, classes, 1, 1, False)
    graph = Subgraph(tuple(net.tensors), (first,), (out,), tuple(net.operators))
    return Model((graph,), description=f"MobileNet v2, {size} x {size}, width {width}")


def _bottleneck(net: _Builder, x: int, expansion: int, channels: int, stride: int) -> int:
    inner = net.tensors[x].shape[3] * expansion
    y = x if expansion == 1 else net.convolve(x, inner, 1, 1, True)
    y = net.convolve(y, inner, 3, stride, True, depthwise=True)
    y = net.convolve(y, channels, 1, 1, False)
    if stride > 1 or net.tensors[x].shape != net.tensors[y].shape:
        return y
    total = net.tensor(net.tensors[y].shape, 0.08, 3)
    options = {"fused_activation_function": _NONE}
    net.add("ADD", (x, y), total, options, "AddOptions")
    return total
