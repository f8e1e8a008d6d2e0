"""The trained keyword spotter as an integer streaming `Model`, written operator by operator.

One invocation takes one frame and gives the sum of all frames' logits since reset, int16: the
answer to a clip is the largest after its last frame, and RAM does not grow with time. State lives
in variable tensors that the operators write in place.

Without a converter between, each thing is chosen here:

- input projection and causal convolution are one SVDF: its feature matrix is the merged linear
  layer, its memory the tail of the convolution, its time weights the convolution;
- the scan's state `h` is (d_inner, d_state); `decay * h` and `h + input` are written over it, so
  that one temporary of its size lives at a time;
- y = C h is FULLY_CONNECTED with the state as filter;
- int8 logits are summed in int16 at their own scale, which ADD does exactly;
- tensors that die where the next is made share their bytes by an offline plan.

Source: `tensorflow/lite/micro/kernels/svdf_common.cc`, `fully_connected.cc`, `add_common.cc`,
`tensorflow/lite/micro/docs/memory_management.md`.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import (
    OFFLINE_PLAN_METADATA,
    Model,
    Operator,
    OperatorCode,
    Subgraph,
)
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor
from refmicro.zoo.mamba import LayerWeights, MambaConfig, layer_weights
from refmicro.zoo.quantise import Grid

MAX_SUMMED_FRAMES = 32767 // 128
"""Frames after which the int16 sum of int8 logits could saturate."""

_UNIT = {8: Grid(1 / 256, -128, 8), 16: Grid(1 / 32768, 0, 16), 32: Grid(1.0, 0, 32)}
STATES = ("variable", "input-output", "resource")
_TYPES = {8: DType.INT8, 16: DType.INT16, 32: DType.FLOAT32}
_OPTIONS = {
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "SVDF": "SVDFOptions",
    "MUL": "MulOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "RESHAPE": "ReshapeOptions",
    "QUANTIZE": "QuantizeOptions",
    "LOGISTIC": "",
    "ASSIGN_VARIABLE": "AssignVariableOptions",
    "VAR_HANDLE": "VarHandleOptions",
    "READ_VARIABLE": "ReadVariableOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "PAD": "PadOptions",
    "GATHER": "GatherOptions",
    "LESS": "LessOptions",
    "WHILE": "WhileOptions",
    "UNPACK": "UnpackOptions",
    "PACK": "PackOptions",
    "SUM": "ReducerOptions",
    "SOFTMAX": "SoftmaxOptions",
    "TANH": "",
    "ELU": "",
    "L2_NORMALIZATION": "L2NormOptions",
    "CONV_2D": "Conv2DOptions",
    "CONCATENATION": "ConcatenationOptions",
}


@dataclass
class Builder:
    """Collects tensors and operators of one subgraph; tensors are named by index."""

    state: str = "variable"
    per_channel: bool = False
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    carried: list[tuple[int, int]] = field(default_factory=list)

    def remember(self, name: str, shape: tuple[int, ...], grid: Grid) -> tuple[int, int]:
        """State of the last frame and where to write this frame's, in the way of `state`."""
        if self.state == "variable":
            index = self.tensor(name, shape, grid, is_variable=True)
            return index, index
        before, after = self.tensor(name, shape, grid), self.tensor(name, shape, grid)
        if self.state == "input-output":
            self.carried.append((before, after))
        else:
            self.tensors.append(Tensor(name, DType.RESOURCE, ()))
            handle = len(self.tensors) - 1
            self.add("VAR_HANDLE", (), handle, container="", shared_name=name)
            self.add("READ_VARIABLE", (handle,), before)
            self.carried.append((handle, after))
        return before, after

    def tensor(self, name: str, shape: tuple[int, ...], grid: Grid, **more: Any) -> int:
        """An activation, or a variable with `is_variable`."""
        made = Tensor(name, _TYPES[grid.bits], shape, self.quantization(grid), **more)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def quantization(self, grid: Grid) -> Quantization:
        """The grid as the file holds it."""
        if grid.bits == 32:
            return NO_QUANTIZATION
        return Quantization((_f32(grid.scale),), (grid.zero_point,))

    def rows(self, name: str, values: np.ndarray) -> int:
        """An int8 matrix with a scale for each row, or one for all where rows share it."""
        if not self.per_channel:
            return self.weight(name, values)
        largest = np.abs(values).max(1)
        # A row of zeros would have no scale, one of dust a bias beyond int32.
        scale = (np.maximum(largest, largest.max() / 1024) / 127).astype(np.float32)
        data = np.clip(np.round(values / scale[:, None]), -127, 127).astype(np.int8)
        quantization = Quantization(tuple(map(float, scale)), (0,) * len(scale))
        return self.constant(name, DType.INT8, data, quantization)

    def weight(self, name: str, values: np.ndarray, *, bits: int = 8, axis: int = 0) -> int:
        """A constant with the scale of its largest value; `axis` is its quantized dimension."""
        if bits == 32:
            return self.constant(name, DType.FLOAT32, np.asarray(values, np.float32))
        highest = (1 << (bits - 1)) - 1
        scale = _f32(max(float(np.max(np.abs(values))), 1e-12) / highest)
        data = np.clip(np.round(values / scale), -highest, highest).astype(_TYPES[bits].numpy)
        quantization = Quantization((scale,), (0,), quantized_dimension=axis)
        return self.constant(name, _TYPES[bits], data, quantization)

    def constant(
        self,
        name: str,
        dtype: DType,
        array: np.ndarray,
        quantization: Quantization = NO_QUANTIZATION,
    ) -> int:
        """A constant of these values."""
        self.tensors.append(Tensor(name, dtype, array.shape, quantization, array.tobytes()))
        return len(self.tensors) - 1

    def bias(self, name: str, values: np.ndarray, scale: Any, beside: DType) -> int:
        """An int32 constant; int64 beside int16 activations, float32 beside such."""
        if beside is DType.FLOAT32:
            return self.constant(name, beside, np.asarray(values, np.float32))
        dtype = DType.INT64 if beside is DType.INT16 else DType.INT32
        limits = np.iinfo(np.int32)
        data = np.clip(np.round(np.asarray(values, np.float64) / scale), limits.min, limits.max)
        scales = tuple(_f32(item) for item in np.atleast_1d(scale))
        quantization = Quantization(scales, (0,) * len(scales))
        return self.constant(name, dtype, data.astype(dtype.numpy), quantization)

    def scale(self, tensor: int) -> float:
        """The scale of a tensor, 0 where it has none."""
        return self.tensors[tensor].scale

    def add(self, name: str, inputs: tuple[int, ...], output: int, **options: Any) -> int:
        """One operator with one output, which it returns."""
        self.add_many(name, inputs, (output,), **options)
        return output

    def add_many(
        self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **options: Any
    ) -> None:
        """One operator."""
        kind = _OPTIONS[name]
        self.operators.append(
            Operator(OperatorCode(name), inputs, outputs, options, options_type=kind)
        )


def _f32(value: float) -> float:
    return float(np.float32(value))


@dataclass(frozen=True)
class StreamingOptions:
    """How the integer model is built.

    Attributes:
        bits: of activations and state: 8, 16, or 32 for float32.
        state_bits: 16 gives the recurrence of an int8 model 16 bits: its state, its decays and what
            enters it; None means as many as `bits`.
        per_channel: the matrices of FULLY_CONNECTED have a scale a row; SVDF's have one in all.
        state: where the scan's state and the sum of logits live, one of `STATES`; the tail of the
            convolution is a variable tensor always, SVDF takes no other.
        in_place: the offline plan that lets big temporaries share their bytes.
        names: tensors keep their names; without them the file is smaller.
    """

    bits: int = 8
    state_bits: int | None = None
    per_channel: bool = False
    state: str = "variable"
    in_place: bool = True
    names: bool = False


def streaming_model(
    config: MambaConfig,
    parameters: dict[str, np.ndarray],
    grids: dict[str, Grid],
    options: StreamingOptions | None = None,
) -> Model:
    """The step model: input int8 (1, features), output int16 (1, classes).

    Args:
        config: dimensions; the discretisation must be `sigmoid`.
        parameters: trained, by name.
        grids: of the activations, by name.
        options: see `StreamingOptions`.

    Returns:
        The model, read back from its file, so that it has a `source`.

    Raises:
        UnsupportedError: if the discretisation has no integer form here, or the clip is longer
            than the sum of logits can hold.
    """
    options = options or StreamingOptions()
    if config.discretisation != "sigmoid":
        raise UnsupportedError(
            f"only the sigmoid discretisation has an integer model here: {config.discretisation}",
            hint="train with --discretisation sigmoid",
        )
    if config.frames > MAX_SUMMED_FRAMES:
        raise UnsupportedError(
            f"int16 sums the logits of at most {MAX_SUMMED_FRAMES} frames: {config.frames}",
            hint="take a longer hop between frames",
        )
    build = Builder(options.state, options.per_channel)
    # The first operator is SVDF or FULLY_CONNECTED: the input is int8 in either width.
    frame = build.tensor("frame", (1, config.features), _narrow(grids["frame"]))
    logits = write_step(build, config, parameters, grids, options, frame)
    total = sum_of_logits(build, logits, config.classes)
    return finish_model(build, frame, total, options)


def write_step(
    build: Builder,
    config: MambaConfig,
    parameters: dict[str, np.ndarray],
    grids: dict[str, Grid],
    options: StreamingOptions,
    frame: int,
) -> int:
    """All operators from a frame to its logits, int8 (1, classes); gives their tensor."""
    value = frame
    if config.layers > 1:
        value = linear_operator(
            build,
            "stem",
            frame,
            parameters["lin_in"],
            parameters["lin_in_bias"],
            _narrow(grids["stem"]),
        )
    for number in range(config.layers):
        weights = layer_weights(config, parameters, number)
        out = LayerWriter(build, config, weights, grids, number, options).write(value)
        if config.layers > 1:
            total = build.tensor("sum", (1, config.d_model), _narrow(grids[f"{number}.sum"]))
            out = build.add("ADD", (value, out), total)
        value = out
    if config.layers > 1:
        value = linear_operator(
            build,
            "logits",
            value,
            parameters["head"],
            parameters["head_bias"],
            _narrow(grids["logits"]),
        )
    return value


def _narrow(grid: Grid) -> Grid:
    """The same range in int8: between layers int16 models are narrow too."""
    return Grid(grid.scale * 256, 0, 8) if grid.bits == 16 else grid


def linear_operator(
    build: Builder,
    name: str,
    source: int,
    weight: np.ndarray,
    bias: np.ndarray | None,
    grid: Grid,
    *,
    rows: int = 1,
) -> int:
    """FULLY_CONNECTED over `rows` rows; no bias input where the bias is None. Its output."""
    beside = build.tensors[source].dtype
    bits = 32 if beside is DType.FLOAT32 else 8
    values = np.asarray(weight)
    w = build.rows(f"w_{name}", values) if bits == 8 else build.weight(name, values, bits=bits)
    inputs: tuple[int, ...] = (source, w)
    if bias is not None:
        scale = build.scale(source) * np.array(build.tensors[w].quantization.scale or (0.0,))
        inputs += (build.bias(f"b_{name}", bias, scale, beside),)
    out = build.tensor(name, (rows, len(weight)), grid)
    return build.add("FULLY_CONNECTED", inputs, out)


def sum_of_logits(build: Builder, logits: int, classes: int) -> int:
    """The running sum, exact: int8 values at their own scale in int16."""
    grid = Grid(build.scale(logits), 0, 16)
    wide = logits
    if build.tensors[logits].dtype is DType.FLOAT32:
        grid = Grid(1.0, 0, 32)
    else:
        wide = build.add("QUANTIZE", (logits,), build.tensor("wide", (1, classes), grid))
    total, later = build.remember("total", (1, classes), grid)
    return build.add("ADD", (total, wide), later)


@dataclass
class LayerWriter:
    """Writes one Mamba layer; methods follow the order of execution."""

    build: Builder
    config: MambaConfig
    w: LayerWeights
    grids: dict[str, Grid]
    number: int
    options: StreamingOptions

    def write(self, source: int) -> int:
        x = self.scan_input(source)
        y = self.scan(x)
        y = self.skip(x, y)
        gate = self.silu("gate", self.linear("gate", self.widened(source), self.w.z, self.w.z_bias))
        gated = self.binary("MUL", "gated", y, gate)
        last = self.config.layers == 1
        name = "logits" if last else "out"
        grid = self.grids["logits"] if last else self.grid("out")
        bias = self.w.out_bias if last else None
        return self.narrowed(linear_operator(self.build, name, gated, self.w.out, bias, grid), name)

    def grid(self, name: str) -> Grid:
        return self.grids[f"{self.number}.{name}"]

    def vector(self, name: str, width: int, grid: Grid | None = None) -> int:
        return self.build.tensor(name, (1, width), grid or self.grid(name))

    def linear(self, name: str, source: int, weight: np.ndarray, bias: Any = None) -> int:
        return linear_operator(self.build, name, source, weight, bias, self.grid(name))

    def widened(self, source: int) -> int:
        """The layer's input in the width of its activations."""
        tensor = self.build.tensors[source]
        if self.options.bits != 16 or tensor.dtype is DType.INT16:
            return source
        grid = Grid(tensor.scale, 0, 16)
        out = self.vector("wide", tensor.shape[1], grid)
        return self.build.add("QUANTIZE", (source,), out)

    def narrowed(self, source: int, name: str) -> int:
        if self.build.tensors[source].dtype is not DType.INT16:
            return source
        grid = Grid(self.build.scale(source) * 256, 0, 8)
        out = self.vector(f"{name}_narrow", self.build.tensors[source].shape[1], grid)
        return self.build.add("QUANTIZE", (source,), out)

    @property
    def scan_bits(self) -> int:
        return self.options.state_bits or self.options.bits

    def scan_grid(self, name: str) -> Grid:
        grid = self.grid(name)
        return _widened_grid(grid) if grid.bits < self.scan_bits else grid

    def in_scan(self, source: int) -> int:
        """A value in the width of the recurrence."""
        tensor = self.build.tensors[source]
        if tensor.dtype is _TYPES[self.scan_bits]:
            return source
        grid = _widened_grid(Grid(tensor.scale, tensor.zero_point))
        return self.build.add("QUANTIZE", (source,), self.vector("wide", tensor.shape[1], grid))

    def binary(self, op: str, name: str, a: int, b: int) -> int:
        out = self.build.tensor(name, self.build.tensors[a].shape, self.grid(name))
        return self.build.add(op, (a, b), out)

    def unit(self, name: str, source: int) -> int:
        tensor = self.build.tensors[source]
        grid = next(_UNIT[bits] for bits, kind in _TYPES.items() if kind is tensor.dtype)
        return self.build.add("LOGISTIC", (source,), self.build.tensor(name, tensor.shape, grid))

    def silu(self, name: str, source: int) -> int:
        out = "x" if name == "conv" else f"{name}_silu"
        return self.binary("MUL", out, source, self.unit(f"{name}_unit", source))

    def scan_input(self, source: int) -> int:
        """SVDF and SiLU: (1, d_inner)."""
        build, d = self.build, self.config.d_inner
        tail, out = _narrow(self.grid("tail")), self.grid("conv")
        bits = 32 if self.options.bits == 32 else 8
        feature = build.weight("w_tail", np.asarray(self.w.x), bits=bits)
        time = build.weight("w_conv", np.asarray(self.w.conv), bits=bits)
        state = build.tensor("tail", (1, d * self.config.d_conv), tail, is_variable=True)
        scale = tail.scale * build.scale(time)
        beside = build.tensors[source].dtype
        bias = build.bias("b_conv", np.asarray(self.w.conv_bias), scale, beside)
        conv = self.vector("conv", d, _narrow(out))
        inputs = (source, feature, time, bias, state)
        build.add("SVDF", inputs, conv, rank=1, fused_activation_function=0)
        return self.silu("conv", self.widened(conv))

    def column(self, source: int) -> int:
        """(1, d_inner) as (d_inner, 1), the same bytes."""
        tensor = self.build.tensors[source]
        grid = Grid(tensor.scale, tensor.zero_point, self.scan_bits)
        out = self.build.tensor("column", (tensor.shape[1], 1), grid)
        return self.build.add("RESHAPE", (source,), out, new_shape=(tensor.shape[1], 1))

    def scan(self, x: int) -> int:
        """One step of the recurrence and its output C h: (1, d_inner)."""
        build, w, d, n = self.build, self.w, self.config.d_inner, self.config.d_state
        low = self.linear("step_low", x, w.dt_low)
        z = self.linear("step", low, w.dt, w.dt_bias)
        u = self.binary("MUL", "u", self.unit("dt", z), x)
        z, u = self.column(self.in_scan(z)), self.column(self.in_scan(u))
        a_log = build.weight("w_a_log", -np.asarray(w.a_log), bits=self.scan_bits)
        argument = build.tensor("decay_log", (d, n), self.scan_grid("decay_log"))
        decay = self.unit("decay", build.add("SUB", (a_log, z), argument))
        h, later = build.remember(f"h{self.number}", (d, n), self.scan_grid("h"))
        kept = h if h == later else build.tensor("kept", (d, n), self.scan_grid("h"))
        build.add("MUL", (h, decay), kept)
        b = self.in_scan(self.linear("b", x, w.b))
        entering = build.tensor("input", (d, n), self.scan_grid("input"))
        h = build.add("ADD", (kept, build.add("MUL", (u, b), entering)), later)
        build.offsets.update(dict.fromkeys((argument, decay, entering), 0))
        c = self.in_scan(self.linear("c", x, w.c))
        out = self.vector("scan", d, self.scan_grid("scan"))
        if self.scan_bits != 16:
            return build.add("FULLY_CONNECTED", (c, h), out)
        # FULLY_CONNECTED takes no int16 filter.
        build.add("BATCH_MATMUL", (c, h), out, adj_x=False, adj_y=True)
        if self.options.bits == 16:
            return out
        return build.add("QUANTIZE", (out,), self.vector("scan", d))

    def skip(self, x: int, y: int) -> int:
        bits = self.options.bits
        weight = self.build.weight("w_skip", np.asarray(self.w.skip)[None], bits=bits)
        return self.binary("ADD", "y", y, self.binary("MUL", "skip", x, weight))


def finish_model(
    build: Builder,
    frame: int,
    total: int,
    options: StreamingOptions,
    description: str = "refmicro kws-mamba",
) -> Model:
    """The model with its plan, written and read back."""
    if options.state == "resource":
        for handle, after in build.carried:
            build.add_many("ASSIGN_VARIABLE", (handle, after), ())
    tensors = build.tensors
    if not options.names:
        tensors = [dataclasses.replace(tensor, name="") for tensor in tensors]
    inputs, outputs = (frame,), (total,)
    if options.state == "input-output":
        inputs += tuple(before for before, _ in build.carried)
        outputs += tuple(after for _, after in build.carried if after != total)
    graph = Subgraph(tuple(tensors), inputs, outputs, tuple(build.operators))
    model = Model((graph,), description=description)
    if options.in_place:
        model = with_offsets(model, [build])
    return parse_model(write_model(model))


def with_offsets(model: Model, builds: list[Builder]) -> Model:
    """The model with the offline plan of its subgraphs' builders."""
    offsets = [b.offsets.get(index, -1) for b in builds for index in range(len(b.tensors))]
    plan = struct.pack(f"<{3 + len(offsets)}i", 1, len(builds) - 1, len(offsets), *offsets)
    return model.with_metadata(OFFLINE_PLAN_METADATA, plan)


def _widened_grid(grid: Grid) -> Grid:
    """The range of an int8 grid in 16 bits."""
    largest = max(-128 - grid.zero_point, 127 - grid.zero_point, key=abs)
    return Grid(_f32(abs(largest) * grid.scale / 32767), 0, 16)


def wide_grids(grids: dict[str, Grid]) -> dict[str, Grid]:
    """The same ranges in 16 bits."""
    return {name: _widened_grid(grid) for name, grid in grids.items()}


def float_grids(grids: dict[str, Grid]) -> dict[str, Grid]:
    """The same names, not quantized."""
    return dict.fromkeys(grids, Grid(1.0, 0, 32))


def quantised_frames(model: Model, frames: np.ndarray) -> np.ndarray:
    """Normalised features (..., features) as the model's input wants them; int16 sound stays."""
    if frames.dtype == np.int16:
        return frames
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    if tensor.dtype is DType.FLOAT32:
        return frames.astype(np.float32)
    scaled = np.round(frames / np.float32(tensor.scale)) + tensor.zero_point
    return np.clip(scaled, -128, 127).astype(np.int8)
