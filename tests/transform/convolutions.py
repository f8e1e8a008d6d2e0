"""Convolution networks with branches, as their papers draw them, small and with random weights."""

from __future__ import annotations

import numpy as np

from refmicro.model.graph import Model
from refmicro.types import DType, Tensor
from tests.ops.graphs import int32, model, op, subgraph
from tests.ops.harness import tensor

PLAIN = {"fused_activation_function": 0}
SAME = 0


class Network:
    """Adds layers; every image is int8, of shape (1, height, width, channels)."""

    def __init__(self, size: int, channels: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.x = self.image(size, size, channels)
        self.operators: list[tuple] = []

    def image(self, height: int, width: int, channels: int) -> Tensor:
        return tensor(DType.INT8, (1, height, width, channels), scale=0.05, zero_point=-3)

    def conv(self, x: Tensor, channels: int, size: int = 1, stride: int = 1) -> Tensor:
        """A convolution with padding and RELU."""
        return self._convolve("CONV_2D", x, channels, size, stride)

    def depthwise(self, x: Tensor, stride: int = 1) -> Tensor:
        """A 3 x 3 convolution of each channel by itself."""
        return self._convolve("DEPTHWISE_CONV_2D", x, x.shape[3], 3, stride)

    def _convolve(self, name: str, x: Tensor, channels: int, size: int, stride: int) -> Tensor:
        height, width, depth = x.shape[1:]
        shape = (channels, size, size, depth)
        axis, more = 0, {}
        if name == "DEPTHWISE_CONV_2D":
            shape, axis, more = (1, size, size, channels), 3, {"depth_multiplier": 1}
        weights = tensor(
            DType.INT8,
            shape,
            scale=[0.01 + 0.0001 * i for i in range(channels)],
            zero_point=[0] * channels,
            axis=axis,
            data=self.rng.integers(-127, 128, shape),
        )
        bias = tensor(DType.INT32, (channels,), data=self.rng.integers(-900, 900, channels))
        y = self.image(-(-height // stride), -(-width // stride), channels)
        options = {
            "padding": SAME,
            "stride_w": stride,
            "stride_h": stride,
            "dilation_w_factor": 1,
            "dilation_h_factor": 1,
            "fused_activation_function": 1,
        }
        table = "Conv2DOptions" if name == "CONV_2D" else "DepthwiseConv2DOptions"
        self.operators.append(op(name, [x, weights, bias], [y], options | more, table))
        return y

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        y = self.image(*a.shape[1:])
        self.operators.append(op("ADD", [a, b], [y], PLAIN))
        return y

    def join(self, *parts: Tensor) -> Tensor:
        y = self.image(*parts[0].shape[1:3], sum(part.shape[3] for part in parts))
        self.operators.append(op("CONCATENATION", parts, [y], {"axis": 3, **PLAIN}))
        return y

    def pool(self, x: Tensor, size: int = 2, stride: int = 2, name: str = "MAX_POOL_2D") -> Tensor:
        y = self.image(-(-x.shape[1] // stride), -(-x.shape[2] // stride), x.shape[3])
        options = {
            "padding": SAME,
            "stride_w": stride,
            "stride_h": stride,
            "filter_width": size,
            "filter_height": size,
            "fused_activation_function": 0,
        }
        self.operators.append(op(name, [x], [y], options, "Pool2DOptions"))
        return y

    def larger(self, x: Tensor) -> Tensor:
        """Twice as high and wide."""
        height, width = 2 * x.shape[1], 2 * x.shape[2]
        y = self.image(height, width, x.shape[3])
        options = {"align_corners": False, "half_pixel_centers": False}
        inputs = [x, int32(height, width)]
        self.operators.append(op("RESIZE_NEAREST_NEIGHBOR", inputs, [y], options))
        return y

    def model(self, *outputs: Tensor) -> Model:
        return model(subgraph([self.x], list(outputs), self.operators))


def residual() -> Model:
    """ResNet: pairs of convolutions, and the image added that went in."""
    net = Network(32, 3)
    x = net.conv(net.x, 16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = net.conv(net.conv(x, channels, 3, stride), channels, 3)
        around = x if stride == 1 else net.conv(x, channels, 1, stride)
        x = net.add(y, around)
    return net.model(net.pool(x, 8, 8, "AVERAGE_POOL_2D"))


def inverted() -> Model:
    """MobileNet V2: wide in the middle of each block, narrow between blocks."""
    net = Network(32, 3)
    x = net.conv(net.x, 8, 3, 2)
    for channels, stride in ((8, 1), (16, 2), (16, 1), (16, 1), (24, 2), (24, 1)):
        wide = net.depthwise(net.conv(x, 6 * x.shape[3]), stride)
        y = net.conv(wide, channels)
        x = net.add(y, x) if stride == 1 and channels == x.shape[3] else y
    return net.model(net.pool(x, 4, 4, "AVERAGE_POOL_2D"))


def inception() -> Model:
    """GoogLeNet: four branches from one image into one, all begun before any is done."""
    net = Network(16, 8)
    x = net.x
    for scale in (1, 2):
        begun = [net.conv(x, 16 * scale), net.conv(x, 24 * scale), net.conv(x, 4 * scale)]
        begun.append(net.pool(x, 3, 1))
        ends = [begun[0], net.conv(begun[1], 32 * scale, 3), net.conv(begun[2], 8 * scale, 5)]
        ends.append(net.conv(begun[3], 8 * scale))
        x = net.join(*ends)
    return net.model(net.pool(x, 16, 16, "AVERAGE_POOL_2D"))


def dense() -> Model:
    """DenseNet: each layer reads all before it."""
    net = Network(16, 3)
    parts = [net.conv(net.x, 12, 3)]
    for _ in range(6):
        joined = net.join(*parts) if len(parts) > 1 else parts[0]
        parts.append(net.conv(net.conv(joined, 24), 12, 3))
    return net.model(net.pool(net.join(*parts), 16, 16, "AVERAGE_POOL_2D"))


def hourglass() -> Model:
    """U-Net: down, up, and across."""
    net = Network(32, 3)
    x, across = net.x, []
    for channels in (8, 16, 24):
        x = net.conv(net.conv(x, channels, 3), channels, 3)
        across.append(x)
        x = net.pool(x)
    x = net.conv(x, 32, 3)
    for channels, side in zip((24, 16, 8), reversed(across), strict=True):
        x = net.conv(net.join(net.larger(net.conv(x, channels)), side), channels, 3)
    return net.model(net.conv(x, 2))


def random_wires(seed: int = 0, layers: int = 40) -> Model:
    """A network with random connections, in the order in which it was drawn."""
    net = Network(16, 4, seed)
    images = [net.x]
    read: set[int] = set()
    for _ in range(layers):
        places = net.rng.integers(max(len(images) - 9, 0), len(images), 2)
        read |= set(places.tolist())
        a, b = (images[int(place)] for place in places)
        channels = int(net.rng.integers(1, 7)) * 4
        if net.rng.random() < 0.5 or a is b:
            images.append(net.conv(a, channels, 3))
        elif a.shape == b.shape:
            images.append(net.add(a, b))
        else:
            images.append(net.conv(net.join(a, b), channels))
    loose = [image for place, image in enumerate(images) if place not in read]
    return net.model(net.conv(net.join(*loose) if len(loose) > 1 else loose[0], 4))


NETWORKS = {
    "dense": dense,
    "hourglass": hourglass,
    "inception": inception,
    "inverted": inverted,
    "random_wires": random_wires,
    "residual": residual,
}
"""By the name of what is special about them."""
