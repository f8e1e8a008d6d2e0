"""The keyword spotter over a whole clip at once: every step of the scan has operators of its own.

This is how the published system runs on TFLM, which has no loop that it could use: what does not
depend on the step before is computed for all frames together, then the scan stands there T times.
The arithmetic is that of the streaming model, so that both give the same bytes; memory and the
number of operators grow with T.
"""

from __future__ import annotations

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model
from refmicro.types import DType
from refmicro.zoo.mamba import LayerWeights, MambaConfig, layer_weights
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import Builder, StreamingOptions, finish_model, linear_operator

_UNIT = Grid(1 / 256, -128, 8)


def unrolled_model(
    config: MambaConfig, parameters: dict[str, np.ndarray], grids: dict[str, Grid]
) -> Model:
    """The whole clip in one invocation: int8 (T, features) to int16 (1, classes).

    Raises:
        UnsupportedError: for another discretisation than `sigmoid`.
    """
    if config.discretisation != "sigmoid":
        raise UnsupportedError(
            f"only the sigmoid discretisation has an integer model here: {config.discretisation}"
        )
    build = Builder()
    steps = config.frames
    frames = value = build.tensor("frame", (steps, config.features), grids["frame"])
    if config.layers > 1:
        value = linear_operator(
            *(build, "stem", frames, parameters["lin_in"], parameters["lin_in_bias"]),
            grids["stem"],
            rows=steps,
        )
    for number in range(config.layers):
        weights = layer_weights(config, parameters, number)
        out = _Unrolled(build, config, weights, grids, number).write(value)
        if config.layers > 1:
            total = build.tensor("sum", (steps, config.d_model), grids[f"{number}.sum"])
            out = build.add("ADD", (value, out), total)
        value = out
    if config.layers > 1:
        value = linear_operator(
            *(build, "logits", value, parameters["head"], parameters["head_bias"]),
            grids["logits"],
            rows=steps,
        )
    grid = Grid(build.scale(value), 0, 16)
    shape = (steps, config.classes)
    wide = build.add("QUANTIZE", (value,), build.tensor("wide", shape, grid))
    axis = build.constant("axis", DType.INT32, np.zeros(1, np.int32))
    total = build.tensor("total", (1, config.classes), grid)
    build.add("SUM", (wide, axis), total, keep_dims=True)
    return finish_model(build, frames, total, StreamingOptions(in_place=False))


class _Unrolled:
    """Writes one layer; the tensors of all frames have T rows."""

    def __init__(
        self,
        build: Builder,
        config: MambaConfig,
        w: LayerWeights,
        grids: dict[str, Grid],
        number: int,
    ) -> None:
        self.build, self.config, self.w = build, config, w
        self.grids, self.number = grids, number

    def grid(self, name: str) -> Grid:
        return self.grids[f"{self.number}.{name}"]

    def tensor(self, name: str, shape: tuple[int, ...], grid: Grid | None = None) -> int:
        return self.build.tensor(name, shape, grid or self.grid(name))

    def rows(self, name: str, source: int, weight: np.ndarray, bias: np.ndarray | None) -> int:
        return linear_operator(
            self.build, name, source, weight, bias, self.grid(name), rows=self.config.frames
        )

    def unit(self, source: int) -> int:
        out = self.tensor("unit", self.build.tensors[source].shape, _UNIT)
        return self.build.add("LOGISTIC", (source,), out)

    def binary(self, op: str, name: str, a: int, b: int, shape: tuple[int, ...] = ()) -> int:
        out = self.tensor(name, shape or self.build.tensors[a].shape)
        return self.build.add(op, (a, b), out)

    def write(self, source: int) -> int:
        build = self.build
        x = self.scan_input(source)
        y = self.scan(x)
        skip = build.weight("w_skip", np.asarray(self.w.skip)[None])
        y = self.binary("ADD", "y", y, self.binary("MUL", "skip", x, skip))
        gate = self.rows("gate", source, self.w.z, self.w.z_bias)
        gate = self.binary("MUL", "gate_silu", gate, self.unit(gate))
        gated = self.binary("MUL", "gated", y, gate)
        last = self.config.layers == 1
        grid = self.grids["logits"] if last else self.grid("out")
        bias = self.w.out_bias if last else None
        return linear_operator(build, "out", gated, self.w.out, bias, grid, rows=self.config.frames)

    def scan_input(self, frames: int) -> int:
        """Projection, causal convolution over the zero-padded tail, SiLU: (T, d_inner)."""
        build, d, steps = self.build, self.config.d_inner, self.config.frames
        taps = self.config.d_conv
        tail = self.rows("tail", frames, self.w.x, None)
        shape = (1, steps + taps - 1, 1, d)
        cut = self.reshape("tail", tail, (1, steps, 1, d))
        amounts = np.array([[0, 0], [taps - 1, 0], [0, 0], [0, 0]], np.int32)
        paddings = build.constant("paddings", DType.INT32, amounts)
        padded = build.add("PAD", (cut, paddings), self.tensor("tail", shape))
        kernel = np.asarray(self.w.conv).T[None, :, None, :]
        time = build.weight("w_conv", kernel, axis=3)
        scale = build.scale(tail) * build.scale(time)
        bias = build.bias("b_conv", np.asarray(self.w.conv_bias), scale, DType.INT8)
        conv = self.tensor("conv", (1, steps, 1, d))
        build.add(
            *("DEPTHWISE_CONV_2D", (padded, time, bias), conv),
            padding=1,
            stride_w=1,
            stride_h=1,
            depth_multiplier=1,
            dilation_w_factor=1,
            dilation_h_factor=1,
            fused_activation_function=0,
        )
        conv = self.reshape("conv", conv, (steps, d))
        return self.binary("MUL", "x", conv, self.unit(conv))

    def reshape(self, name: str, source: int, shape: tuple[int, ...]) -> int:
        tensor = self.build.tensors[source]
        grid = Grid(tensor.scale, tensor.zero_point, 8)
        out = self.tensor(name, shape, grid)
        return self.build.add("RESHAPE", (source,), out, new_shape=shape)

    def parts(self, source: int, shape: tuple[int, ...]) -> list[int]:
        """The rows of `source`, each of `shape`: a view of other shape, then UNPACK."""
        tensor, steps = self.build.tensors[source], self.config.frames
        if tensor.shape != (steps, *shape):
            source = self.reshape("view", source, (steps, *shape))
        grid = Grid(tensor.scale, tensor.zero_point, 8)
        outputs = tuple(self.tensor("part", shape, grid) for _ in range(steps))
        self.build.add_many("UNPACK", (source,), outputs, num=steps, axis=0)
        return list(outputs)

    def scan(self, x: int) -> int:
        """T steps of six operators: (T, d_inner)."""
        build, w, d, n = self.build, self.w, self.config.d_inner, self.config.d_state
        low = self.rows("step_low", x, w.dt_low, None)
        z = self.rows("step", low, w.dt, w.dt_bias)
        u = self.binary("MUL", "u", self.unit(z), x)
        b, c = self.rows("b", x, w.b, None), self.rows("c", x, w.c, None)
        columns = [self.parts(source, (d, 1)) for source in (z, u)]
        rows = [self.parts(source, (1, n)) for source in (b, c)]
        a_log = build.weight("w_a_log", -np.asarray(w.a_log))
        h = build.constant(
            *("h", DType.INT8, np.zeros((d, n), np.int8)), build.quantization(self.grid("h"))
        )
        found = []
        for z_t, u_t, b_t, c_t in zip(*columns, *rows, strict=True):
            decay = self.unit(self.binary("SUB", "decay_log", a_log, z_t, (d, n)))
            kept = self.binary("MUL", "h", h, decay)
            h = self.binary("ADD", "h", kept, self.binary("MUL", "input", u_t, b_t, (d, n)))
            y = self.tensor("scan", (1, d))
            found.append(build.add("FULLY_CONNECTED", (c_t, h), y))
        steps = len(found)
        stacked = self.tensor("scan", (steps, 1, d))
        build.add("PACK", tuple(found), stacked, values_count=steps, axis=0)
        return self.reshape("scan", stacked, (steps, d))
