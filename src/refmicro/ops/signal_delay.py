"""SignalDelay, a custom operator: the samples that came `delay_length` samples ago, zeros at first.

Shapes: input (..., samples); the output holds as many values.
Quantization: int16, values are copied.
Persistent: 20 bytes (32 with 8-byte pointers); a pointer for each stream twice; for each stream
24 bytes (40) + 4 * (samples + delay_length). State: the last samples, zeros after `Reset`.
Options: `delay_length`.
Differs: a negative delay and an output of another size are refused; TFLM would write outside its
buffers.
Source: `signal/micro/kernels/delay.cc`, `signal/src/circular_buffer.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.ops import _signal
from refmicro.ops._spec import (
    BindContext,
    EvalContext,
    OpData,
    OpSpec,
    PrepareContext,
    Step,
    run_steps,
)
from refmicro.types import DType


@dataclass(frozen=True)
class Delay:
    """Sizes; `streams` are the elements in front of the samples."""

    streams: int
    samples: int
    length: int
    output_shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Delay:
    """Check types and sizes, allocate a buffer for each stream."""
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.INT16)
    ctx.require_type("output", output, DType.INT16)
    ctx.require_shape(len(x.shape) >= 1, "input must have at least 1 dimension", 0)
    (length,) = _signal.options_at(ctx, 0)
    ctx.require_shape(length >= 0, "delay_length must not be negative", length)
    ctx.require_shape(
        output.elements == x.elements, f"output must hold {x.elements} values", output.elements
    )
    streams, samples = math.prod(x.shape[:-1]), x.shape[-1]
    ctx.persistent(streams * _signal.pointer_bytes(ctx.build))
    ctx.persistent(streams * _signal.pointer_bytes(ctx.build))
    for _ in range(streams):
        ctx.persistent(_signal.circular_buffer_bytes(ctx.build, samples + length))
    return Delay(streams, samples, length, output.shape)


def evaluate(ctx: EvalContext, data: Delay) -> None:
    """What was held comes out first."""
    held = ctx.read_state()[0].copy()
    out = np.empty((held.shape[0], *data.output_shape), np.int16)
    run_steps(_steps(data, ctx.input(0), held, out))
    ctx.set_output(0, out)
    ctx.write_state(held)


def bind(ctx: BindContext, data: Delay) -> list[Step]:
    """Copies; what is held is changed in place."""
    return _steps(data, ctx.input(0), ctx.state()[0], ctx.output(0))


def _steps(data: Delay, x: np.ndarray, held: np.ndarray, out: np.ndarray) -> list[Step]:
    x, out = (array.reshape(len(array), data.streams, -1) for array in (x, out))
    kept = max(data.length - data.samples, 0)
    fresh = max(data.samples - data.length, 0)
    copies = [
        (out[:, :, : data.samples - fresh], held[:, :, : data.length - kept]),
        (out[:, :, data.samples - fresh :], x[:, :, :fresh]),
        (held[:, :, :kept], held[:, :, data.length - kept :]),
        (held[:, :, kept:], x[:, :, fresh:]),
    ]
    return [(np.copyto, pair) for pair in copies if pair[0].size]


def state(data: Delay, batch: int) -> tuple[np.ndarray, ...]:
    """The samples on their way."""
    return (np.zeros((batch, data.streams, data.length), np.int16),)


OP = OpSpec("SignalDelay", prepare, evaluate, OpData(lp64=32, ilp32=20), state=state, bind=bind)
