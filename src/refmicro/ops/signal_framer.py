"""SignalFramer, a custom operator: overlapping frames from a stream of samples.

Every `frame_step` samples that come in give the last `frame_size` samples, once so many have come;
`prefill` starts with zeros so that the first do.

Shapes: input (..., samples), samples a multiple of `frame_step`; output (..., frames, frame_size)
with frames = samples / frame_step; valid a scalar, whether every frame is complete.
Quantization: int16, valid bool; values are copied.
Persistent: 28 bytes (40 with 8-byte pointers); a pointer for each stream twice; for each stream
24 bytes (40) + 4 * the frame size rounded up to steps. State: the last samples and how many there
are; after `Reset` none, or zeros with `prefill`.
Options: `frame_size`, `frame_step`, `prefill`.
Differs: frames that are not complete are zero; TFLM leaves what lies in the arena. Sizes that do
not fit are refused; TFLM would divide by zero or write past the end.
Source: `signal/micro/kernels/framer.cc`, `signal/src/circular_buffer.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType


@dataclass(frozen=True)
class Framer:
    """Sizes; `streams` are the elements in front of the samples."""

    streams: int
    frames: int
    size: int
    step: int
    capacity: int
    prefill: bool
    output_shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Framer:
    """Check types and sizes, allocate a buffer for each stream."""
    _signal.require_count(ctx, (1, 2))
    x, output, valid = ctx.input(0), ctx.output(0), ctx.output(1)
    _signal.require_tensor(ctx, "output", output, DType.INT16, len(x.shape) + 1)
    _signal.require_tensor(ctx, "valid", valid, DType.BOOL, 0)
    ctx.require_type("input", x, DType.INT16)
    ctx.require_shape(len(x.shape) >= 1, "input must have at least 1 dimension", 0)
    size, step, prefill = _signal.options_at(ctx, 0, 1, 2)
    samples = x.shape[-1]
    ctx.require_shape(step > 0 and size > 0, "frames must not be empty", f"{size}, step {step}")
    ctx.require(samples % step == 0, f"input must hold steps of {step} samples", samples)
    ctx.require_shape(
        size >= step or not prefill, f"prefilled frames must have {step} samples", size
    )
    streams, frames = math.prod(x.shape[:-1]), samples // step
    ctx.require_shape(
        output.elements == streams * frames * size,
        f"output must hold {streams * frames} frames of {size} samples",
        list(output.shape),
    )
    capacity = -(-size // step) * step
    ctx.persistent(streams * _signal.pointer_bytes(ctx.build))
    ctx.persistent(streams * _signal.pointer_bytes(ctx.build))
    for _ in range(streams):
        ctx.persistent(_signal.circular_buffer_bytes(ctx.build, capacity))
    return Framer(streams, frames, size, step, capacity, prefill != 0, output.shape)


def evaluate(ctx: EvalContext, data: Framer) -> None:
    """Step by step; a buffer holds its samples at its end, `held` of them count."""
    buffer, held = ctx.read_state()
    x = ctx.input(0)
    batch = max(x.shape[0], buffer.shape[0])
    steps = np.broadcast_to(
        x.reshape(x.shape[0], data.streams, data.frames, data.step),
        (batch, data.streams, data.frames, data.step),
    )
    out = np.zeros((batch, data.streams, data.frames, data.size), np.int16)
    valid = np.ones(batch, np.bool_)
    reach = np.arange(data.size)
    for frame in range(data.frames):
        buffer = np.concatenate([buffer[:, :, data.step :], steps[:, :, frame]], axis=2)
        held = held + data.step
        complete = held >= data.size
        first = np.where(complete, data.capacity - held, 0)
        place = np.broadcast_to((first[:, None] + reach)[:, None], out[:, :, frame].shape)
        frames = np.take_along_axis(buffer, place, axis=2)
        out[:, :, frame] = np.where(complete[:, None, None], frames, 0)
        valid &= complete
        held = np.where(complete, held - data.step, held)
    ctx.write_state(buffer, held)
    ctx.set_output(0, out.reshape(batch, *data.output_shape))
    ctx.set_output(1, valid)


def state(data: Framer, batch: int) -> tuple[np.ndarray, ...]:
    """The samples, and how many count."""
    held = data.size - data.step if data.prefill else 0
    return np.zeros((batch, data.streams, data.capacity), np.int16), np.full(batch, held)


OP = OpSpec("SignalFramer", prepare, evaluate, OpData(lp64=40, ilp32=28), state=state)
