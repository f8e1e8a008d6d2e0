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

from refmicro._jit import jit
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
    """Step by step."""
    buffer, held = (array.copy() for array in ctx.read_state())
    out = np.empty((buffer.shape[0], *data.output_shape), np.int16)
    valid = np.empty(buffer.shape[0], np.bool_)
    run_steps([_step(data, ctx.input(0), buffer, held, out, valid)])
    ctx.write_state(buffer, held)
    ctx.set_output(0, out)
    ctx.set_output(1, valid)


def bind(ctx: BindContext, data: Framer) -> list[Step]:
    """One call; the buffers are changed in place."""
    return [_step(data, ctx.input(0), *ctx.state(), ctx.output(0), ctx.output(1))]


def _step(data: Framer, x: np.ndarray, buffer: np.ndarray, held: np.ndarray, *outputs) -> Step:
    out, valid = outputs
    steps = x.reshape(x.shape[0], data.streams, data.frames, data.step)
    frames = out.reshape(out.shape[0], data.streams, data.frames, data.size)
    return _cut_frames.ready, (steps, buffer, held, frames, valid)


@jit
def _cut_frames(steps, buffer, held, out, valid):
    """A buffer holds its samples at its end, `held` of them count; one row of steps may stand for
    all."""
    step, size, capacity = steps.shape[3], out.shape[3], buffer.shape[2]
    for row in range(out.shape[0]):
        count = held[row]
        valid[row] = True
        for frame in range(out.shape[2]):
            count += step
            for stream in range(out.shape[1]):
                memory = buffer[row, stream]
                memory[: capacity - step] = memory[step:]
                memory[capacity - step :] = steps[row if steps.shape[0] > 1 else 0, stream, frame]
                if count >= size:
                    first = capacity - count
                    out[row, stream, frame] = memory[first : first + size]
                else:
                    out[row, stream, frame] = 0
            if count >= size:
                count -= step
            else:
                valid[row] = False
        held[row] = count


def state(data: Framer, batch: int) -> tuple[np.ndarray, ...]:
    """The samples, and how many count."""
    held = data.size - data.step if data.prefill else 0
    return np.zeros((batch, data.streams, data.capacity), np.int16), np.full(batch, held)


OP = OpSpec("SignalFramer", prepare, evaluate, OpData(lp64=40, ilp32=28), state=state, bind=bind)
