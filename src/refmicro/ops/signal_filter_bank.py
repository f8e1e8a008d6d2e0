"""SignalFilterBank, a custom operator: energies of frequencies summed into overlapping channels.

With w and u the weights and unweights of channel c, and e the input from its first frequency:
    output[c] = sum_j w[c+1, j] * e[c+1, j] + sum_j u[c, j] * e[c, j], modulo 2^64.

Shapes: input a vector of energies; weights, unweights, first frequency, first weight and width of
num_channels + 1 channels are vectors; output a vector of at most num_channels values.
Quantization: input uint32, output uint64, all others int16.
Persistent: 36 bytes (64 with 8-byte pointers); 8 * (num_channels + 1).
Options: `num_channels`.
Differs: first frequencies, first weights and widths must be constant here; ones that leave the
tensors are refused, TFLM would read outside them.
Source: `signal/micro/kernels/filter_bank.cc`, `signal/src/filter_bank.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, Node, OpSpec, PrepareContext, Step
from refmicro.types import Abi, DType, Tensor, TflmBuild

_NAMES = (
    "weights",
    "unweights",
    "channel_frequency_starts",
    "channel_weight_starts",
    "channel_widths",
)


@dataclass(frozen=True)
class FilterBank:
    """For every channel, scratch first: the frequencies and weights that count, and which do."""

    frequencies: np.ndarray
    weights: np.ndarray
    inside: np.ndarray
    outputs: int

    @cached_property
    def channels(self) -> np.ndarray:
        """First frequency, first weight and width of the channels that count."""
        layout = self.frequencies[:, 0], self.weights[:, 0], self.inside.sum(axis=1)
        return np.stack(layout, axis=1)[: self.outputs + 1]


def prepare(ctx: PrepareContext) -> FilterBank:
    """Check types and sizes, lay out the channels."""
    _signal.require_count(ctx, (6, 1))
    x = ctx.input(0)
    _signal.require_tensor(ctx, "input", x, DType.UINT32, 1)
    tables = []
    for index, name in enumerate(_NAMES, 1):
        table = ctx.input(index)
        _signal.require_tensor(ctx, name, table, DType.INT16, 1)
        tables.append(table)
    output = ctx.output(0)
    _signal.require_tensor(ctx, "output", output, DType.UINT64, 1)
    (channels,) = _signal.options_at(ctx, 0)
    ctx.require_shape(
        output.elements <= channels,
        f"output must hold at most num_channels, {channels}, values",
        output.elements,
    )
    return _layout(ctx, x, tables, channels, output)


def _layout(
    ctx: PrepareContext, x: Tensor, tables: list[Tensor], channels: int, output: Tensor
) -> FilterBank:
    for name, table in zip(_NAMES[2:], tables[2:], strict=True):
        ctx.require(table.is_constant, f"{name} must be constant", "a computed tensor")
        _signal.require_elements(ctx, name, table, channels + 1)
    first_frequency, first_weight, widths = (
        table.array()[: channels + 1].astype(np.int64) for table in tables[2:]
    )
    step = np.arange(max(1, int(widths.max(initial=0))))
    inside = step < widths[:, None]
    frequencies = np.where(inside, first_frequency[:, None] + step, 0)
    weights = np.where(inside, first_weight[:, None] + step, 0)
    room = min(tables[0].elements, tables[1].elements)
    fits = frequencies.min() >= 0 and frequencies.max() < x.elements
    ctx.require_shape(
        bool(fits), f"channels must lie inside {x.elements} frequencies", int(frequencies.max())
    )
    fits = weights.min() >= 0 and weights.max() < room
    ctx.require_shape(bool(fits), f"channels must lie inside {room} weights", int(weights.max()))
    return FilterBank(frequencies, weights, inside, output.elements)


def evaluate(ctx: EvalContext, data: FilterBank) -> None:
    """All rows."""
    arrays = [ctx.input(index) for index in range(3)]
    out = np.empty((max(map(len, arrays)), data.outputs), np.uint64)
    _weigh(*arrays, data.channels, out)
    ctx.set_output(0, out)


def bind(ctx: BindContext, data: FilterBank) -> list[Step]:
    """One call for all rows."""
    arrays = [ctx.input(index) for index in range(3)]
    return [(_weigh.ready, (*arrays, data.channels, ctx.output(0)))]


@jit
def _weigh(x, weights, unweights, channels, out):
    """Each channel's weighted energies, and the rest of the channel before, modulo 2^64; one row
    may stand for all."""
    for row in range(out.shape[0]):
        energies = x[row if x.shape[0] > 1 else 0]
        up = weights[row if weights.shape[0] > 1 else 0]
        down = unweights[row if unweights.shape[0] > 1 else 0]
        before = 0
        for channel in range(out.shape[1] + 1):
            frequency, place, width = channels[channel]
            ups, downs = up[place : place + width], down[place : place + width]
            inside = energies[frequency : frequency + width]
            total = rest = 0
            for step in range(width):
                energy = np.int64(inside[step])
                total += energy * np.int64(ups[step])
                rest += energy * np.int64(downs[step])
            if channel > 0:
                out[row, channel - 1] = np.uint64(total + before)
            before = rest


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then its sums."""
    data = 64 if build.abi is Abi.LP64 else 36
    return data, 8 * (_signal.option_at(node, 0) + 1)


OP = OpSpec("SignalFilterBank", prepare, evaluate, init_bytes, bind=bind)
