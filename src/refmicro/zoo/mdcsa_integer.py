"""The transformer of `mdcsa.py` as an integer `Model`, written operator by operator.

One invocation takes a window, (steps, access points), and gives scores for each step, (steps,
classes): int8, also where activations between have 16 bits. Every operator is one of TFLM's integer
kernels. SOFTMAX's beta is 1/sqrt(H), so that nothing is scaled for it. L2_NORMALIZATION and ELU
have no int16 kernel: 16-bit models narrow before and widen after these.

Source: `tensorflow/lite/micro/kernels/{batch_matmul,conv,elu,fully_connected,l2norm,pad,softmax,
tanh}.cc`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.transform.plan import plan_offsets
from refmicro.types import DType, Quantization
from refmicro.zoo.mdcsa import (
    JOIN,
    MdcsaConfig,
    centring,
    merged_ends,
    merged_head,
    positions,
)
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import Builder, StreamingOptions, finish_model

MAX_CENTRED = 128
"""Widths, powers of 2, at which I - 1/width is exact in int8."""

_UNIT_ROWS = Grid(1 / 128, 0, 8)
_VALID, _SAME = 1, 0


def mdcsa_model(
    config: MdcsaConfig,
    parameters: dict[str, np.ndarray],
    grids: dict[str, Grid],
    *,
    bits: int = 8,
    names: bool = False,
) -> Model:
    """The window model: int8 (1, 1, steps, access points) to int8 (1, 1, steps, classes).

    Args:
        config: dimensions.
        parameters: trained, by name.
        grids: of the activations, int8, by name.
        bits: of the activations: 8, 16 (int16x8), or 32 for float32.
        names: tensors keep their names.

    Returns:
        The model with an offline plan where one makes the arena smaller, read back from its file.

    Raises:
        UnsupportedError: if the layer norm of this width is not exact here.
    """
    require_width(config.hidden)
    writer = _Writer(Builder(), config, parameters, grids, bits)
    frame, logits = writer.write()
    options = StreamingOptions(in_place=False, names=names)
    model = finish_model(writer.build, frame, logits, options, "refmicro localisation")
    return planned(model)


def require_width(hidden: int) -> None:
    """Refuse widths at which the layer norm is not exact.

    Raises:
        UnsupportedError: if this is one.
    """
    if hidden > MAX_CENTRED or hidden & (hidden - 1):
        raise UnsupportedError(
            f"the integer transformer needs a width that is a power of 2, at most {MAX_CENTRED}: "
            f"{hidden}",
            hint="such a model can be a teacher: --teacher",
        )


def planned(model: Model) -> Model:
    """The model with the best offline plan, where one makes its arena smaller; has a `source`."""
    return parse_model(write_model(plan_offsets(model).model))


@dataclass
class _Writer:
    """Writes the whole model; methods follow the order of execution."""

    build: Builder
    config: MdcsaConfig
    parameters: dict[str, np.ndarray]
    grids: dict[str, Grid]
    bits: int

    def write(self) -> tuple[int, int]:
        """Input and output tensor."""
        build, config = self.build, self.config
        ends = merged_ends(config, self.parameters)
        narrow = self.grids["frame"] if self.bits != 32 else Grid(1.0, 0, 32)
        frame = build.tensor("frame", (1, 1, config.steps, config.access_points), narrow)
        source = frame
        if self.bits == 16:
            source = self.widened(frame, "frame")
        value = self.linear("embed", source, ends.embed, ends.embed_bias)
        places = positions(config)[None, None]
        value = self.binary("ADD", "place", value, self.constant("w_position", places))
        self.centre = self.centring_matrix()
        heads = [self.head(number, value) for number in range(config.layers)]
        rows = heads[0]
        if config.layers > 1:
            rows = self.interleaved(heads)
        mix = self.attend("", rows, rows, rows)
        stride, padding = (1, _SAME) if config.layers == 1 else (JOIN, _VALID)
        joined = self.convolution("c3", mix, ends.conv, ends.conv_bias, stride, padding)
        unit = self.unit_rows("n3", joined)
        return frame, self.narrowed(self.linear("logits", unit, ends.head, ends.head_bias))

    def grid(self, name: str) -> Grid:
        grid = self.grids[name]
        if self.bits == 32:
            return Grid(1.0, 0, 32)
        if self.bits == 16:
            largest = max(128 + grid.zero_point, 127 - grid.zero_point)
            return Grid(float(np.float32(largest * grid.scale / 32767)), 0, 16)
        return grid

    @property
    def unit_grid(self) -> Grid:
        """TFLM's fixed grid of shares and gates."""
        return {
            8: Grid(1 / 256, -128, 8),
            16: Grid(1 / 32768, 0, 16),
            32: Grid(1.0, 0, 32),
        }[self.bits]

    @property
    def tanh_grid(self) -> Grid:
        return {8: _UNIT_ROWS, 16: Grid(1 / 32768, 0, 16), 32: Grid(1.0, 0, 32)}[self.bits]

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.build.tensors[tensor].shape

    def constant(self, name: str, values: np.ndarray) -> int:
        return self.build.weight(name, values, bits=self.bits)

    def centring_matrix(self) -> int:
        """I - 1/H once for all norms, exact at a scale of 1/128."""
        matrix = centring(self.config.hidden)
        if self.bits == 32:
            return self.build.constant("centre", DType.FLOAT32, matrix)
        steps = np.round(matrix * 128).astype(np.int8)
        return self.build.constant("centre", DType.INT8, steps, Quantization((1 / 128,), (0,)))

    def fully_connected(
        self, name: str, source: int, w: int, bias: np.ndarray | None, grid: Grid
    ) -> int:
        build = self.build
        inputs: tuple[int, ...] = (source, w)
        if bias is not None:
            scale = build.scale(source) * build.scale(w)
            inputs += (build.bias(f"b_{name}", bias, scale, build.tensors[source].dtype),)
        shape = (*self.shape(source)[:-1], build.tensors[w].shape[0])
        out = build.tensor(name, shape, grid)
        return build.add("FULLY_CONNECTED", inputs, out, keep_num_dims=True)

    def linear(self, name: str, source: int, weight: np.ndarray, bias: np.ndarray) -> int:
        w = self.build.weight(f"w_{name}", np.asarray(weight), bits=32 if self.bits == 32 else 8)
        return self.fully_connected(name, source, w, np.asarray(bias), self.grid(name))

    def binary(self, op: str, name: str, a: int, b: int) -> int:
        return self.build.add(op, (a, b), self.build.tensor(name, self.shape(a), self.grid(name)))

    def mapped(self, op: str, name: str, source: int, grid: Grid, **options: Any) -> int:
        out = self.build.tensor(name, self.shape(source), grid)
        return self.build.add(op, (source,), out, **options)

    def widened(self, source: int, name: str) -> int:
        """An int8 tensor in 16 bits, where the model's activations have them."""
        if self.bits != 16 or self.build.tensors[source].dtype is DType.INT16:
            return source
        tensor = self.build.tensors[source]
        largest = max(128 + tensor.zero_point, 127 - tensor.zero_point)
        grid = Grid(float(np.float32(largest * tensor.scale / 32767)), 0, 16)
        return self.mapped("QUANTIZE", f"{name}_wide", source, grid)

    def narrowed(self, source: int) -> int:
        """A 16-bit tensor in int8, for operators without a 16-bit kernel."""
        if self.bits != 16:
            return source
        grid = Grid(float(np.float32(self.build.scale(source) * 32767 / 127)), 0, 8)
        return self.mapped("QUANTIZE", "narrow", source, grid)

    def unit_rows(self, name: str, source: int) -> int:
        grid = Grid(1.0, 0, 32) if self.bits == 32 else _UNIT_ROWS
        unit = self.mapped("L2_NORMALIZATION", name, self.narrowed(source), grid)
        return self.widened(unit, name)

    def normalised(self, number: int, part: int, source: int, w: Any, bias: Any) -> int:
        """A layer norm: mean away, unit rows, scaled and shifted."""
        at = f"{number}."
        centred = self.fully_connected(
            f"{at}c{part}", source, self.centre, None, self.grid(f"{at}c{part}")
        )
        name = self.config.row_name if part == 2 else f"{at}x1"
        return self.linear(name, self.unit_rows(f"{at}n{part}", centred), w, bias)

    def attend(self, at: str, q: int, k: int, v: int) -> int:
        build, rows = self.build, self.shape(q)[2]
        scores = build.tensor(f"{at}scores", (1, 1, rows, rows), self.grid(f"{at}scores"))
        build.add("BATCH_MATMUL", (q, k), scores, adj_x=False, adj_y=True)
        beta = float(np.float32(1 / math.sqrt(self.config.hidden)))
        share = self.mapped("SOFTMAX", f"{at}share", scores, self.unit_grid, beta=beta)
        mix = build.tensor(f"{at}mix", self.shape(v), self.grid(f"{at}mix"))
        return build.add("BATCH_MATMUL", (share, v), mix, adj_x=False, adj_y=False)

    def convolution(
        self, name: str, source: int, weight: Any, bias: Any, stride: int, padding: int
    ) -> int:
        """CONV_2D over the rows: `weight` is (out, taps, in)."""
        build, grid = self.build, self.grid(name)
        values = np.asarray(weight)[:, None]
        w = build.weight(f"w_{name}", values, bits=32 if self.bits == 32 else 8)
        scale = build.scale(source) * build.scale(w)
        b = build.bias(f"b_{name}", bias, scale, build.tensors[source].dtype)
        count, taps = self.shape(source)[2], values.shape[2]
        rows = -(-count // stride) if padding == _SAME else (count - taps) // stride + 1
        out = build.tensor(name, (1, 1, rows, len(values)), grid)
        options = {"padding": padding, "stride_w": stride, "stride_h": 1}
        options |= {"dilation_w_factor": 1, "dilation_h_factor": 1, "fused_activation_function": 0}
        return build.add("CONV_2D", (source, w, b), out, **options)

    def query(self, number: int, name: str, source: int, weight: Any, bias: Any) -> int:
        """tanh of a causal convolution; of a linear layer where the kernel size is 1."""
        full = f"{number}.{name}"
        taps = self.config.kernels[number]
        if taps == 1:
            inner = self.linear(f"{full}_in", source, np.asarray(weight)[:, 0], bias)
        else:
            grid = self.tensor_grid(source)
            steps, width = self.shape(source)[2:]
            padded = self.build.tensor("padded", (1, 1, steps + taps - 1, width), grid)
            amounts = np.array([[0, 0], [0, 0], [taps - 1, 0], [0, 0]], np.int32)
            pads = self.build.constant("pads", DType.INT32, amounts)
            self.build.add("PAD", (source, pads), padded)
            inner = self.convolution(f"{full}_in", padded, weight, bias, 1, _VALID)
        return self.mapped("TANH", full, inner, self.tanh_grid)

    def tensor_grid(self, tensor: int) -> Grid:
        """The grid that a tensor has."""
        found = self.build.tensors[tensor]
        if self.bits == 32:
            return Grid(1.0, 0, 32)
        return Grid(found.scale, found.zero_point, self.bits)

    def interleaved(self, heads: list[int]) -> int:
        """Rows of all heads, those of one moment together."""
        build, config = self.build, self.config
        grid = self.grid("rows")
        wide = build.tensor("rows", (1, 1, config.steps, config.layers * config.hidden), grid)
        build.add("CONCATENATION", tuple(heads), wide, axis=3, fused_activation_function=0)
        shape = (1, 1, config.steps * config.layers, config.hidden)
        return build.add("RESHAPE", (wide,), build.tensor("view", shape, grid), new_shape=shape)

    def head(self, number: int, value: int) -> int:
        """One head over (1, 1, steps, hidden)."""
        at = f"{number}."
        w = merged_head(self.config, self.parameters, number)
        q = self.query(number, "q", value, w.q, w.q_bias)
        k = self.query(number, "k", value, w.k, w.k_bias)
        mix = self.binary("ADD", f"{at}r1", self.attend(at, q, k, value), value)
        first = self.normalised(number, 1, mix, w.affine1, w.affine1_bias)
        wide = self.narrowed(self.linear(f"{at}wide", first, w.fc1, w.fc1_bias))
        elu = self.mapped("ELU", f"{at}elu", wide, self.narrow_grid(f"{at}elu"))
        elu = self.widened(elu, f"{at}elu")
        gate = self.linear(f"{at}b_in", elu, w.b, w.b_bias)
        gate = self.mapped("LOGISTIC", f"{at}gate", gate, self.unit_grid)
        value = self.linear(f"{at}a_in", elu, w.a, w.a_bias)
        gated = self.binary("MUL", f"{at}gated", value, gate)
        total = self.binary("ADD", f"{at}r2", gated, first)
        return self.normalised(number, 2, total, w.affine2, w.affine2_bias)

    def narrow_grid(self, name: str) -> Grid:
        """The int8 grid, whatever the width of the model."""
        return self.grid(name) if self.bits != 16 else dataclasses.replace(self.grids[name], bits=8)
