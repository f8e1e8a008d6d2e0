"""SignalOverlapAdd, a custom operator: a stream of samples from overlapping frames.

Every frame is added to a buffer, whose first `frame_step` samples come out and are then dropped.

Shapes: input (..., frames, frame_size), output (..., frames * frame_step).
Quantization: int16, sums saturate; or float32; named by option `T`.
Persistent: 24 bytes (32 with 8-byte pointers); a pointer for each stream; for each stream the
buffer of frame_size values. State: the buffers, zeros after `Reset`.
Options: `T`, `frame_step`.
Differs: steps outside 1 to frame_size and an output of another size are refused; TFLM would write
outside its buffers.
Source: `signal/micro/kernels/overlap_add.cc`, `signal/src/overlap_add.cc`.
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

_FRAME_STEP = 1
_LIMITS = {DType.INT16: (-32768.0, 32767.0), DType.FLOAT32: (-math.inf, math.inf)}


@dataclass(frozen=True)
class OverlapAdd:
    """Sizes; `streams` are the elements in front of the frames."""

    dtype: DType
    streams: int
    frames: int
    size: int
    step: int
    output_shape: tuple[int, ...]


def prepare(ctx: PrepareContext) -> OverlapAdd:
    """Check types and sizes, allocate a buffer for each stream."""
    dtype = _signal.value_type(ctx, DType.INT16, DType.FLOAT32)
    (step,) = _signal.options_at(ctx, _FRAME_STEP)
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    _signal.require_tensor(ctx, "input", x, dtype, len(output.shape) + 1)
    ctx.require_type("output", output, dtype)
    ctx.require(len(x.shape) >= 2, "input must have at least 2 dimensions", len(x.shape))
    frames, size = x.shape[-2:]
    streams = math.prod(x.shape[:-2])
    ctx.require_shape(0 < step <= size, f"frame_step must be 1 to {size}", step)
    ctx.require_shape(
        output.elements == streams * frames * step,
        f"output must hold {streams * frames} steps of {step} samples",
        list(output.shape),
    )
    ctx.persistent(streams * _signal.pointer_bytes(ctx.build))
    for _ in range(streams):
        ctx.persistent(size * dtype.itemsize_bytes)
    return OverlapAdd(dtype, streams, frames, size, step, output.shape)


def evaluate(ctx: EvalContext, data: OverlapAdd) -> None:
    """Frame by frame."""
    buffer = ctx.read_state()[0].copy()
    out = np.empty((buffer.shape[0], *data.output_shape), buffer.dtype)
    run_steps([_step(data, ctx.input(0), buffer, out)])
    ctx.set_output(0, out)
    ctx.write_state(buffer)


def bind(ctx: BindContext, data: OverlapAdd) -> list[Step]:
    """One call; the buffers are changed in place."""
    return [_step(data, ctx.input(0), ctx.state()[0], ctx.output(0))]


def _step(data: OverlapAdd, x: np.ndarray, buffer: np.ndarray, out: np.ndarray) -> Step:
    frames = x.reshape(x.shape[0], data.streams, data.frames, data.size)
    sums = out.reshape(out.shape[0], data.streams, data.frames, data.step)
    return _add_frames.ready, (frames, *_LIMITS[data.dtype], buffer, sums)


@jit
def _add_frames(frames, low, high, buffer, out):
    """Sums of doubles, rounded, are those of float32; one row of frames may stand for all."""
    kind = out.dtype.type
    step = out.shape[3]
    for row in range(out.shape[0]):
        for stream in range(out.shape[1]):
            held = buffer[row, stream]
            for index in range(out.shape[2]):
                frame = frames[row if frames.shape[0] > 1 else 0, stream, index]
                for i in range(held.size):
                    # A NaN stays what it is.
                    total = np.float64(held[i]) + np.float64(frame[i])
                    total = low if total < low else total
                    held[i] = kind(high if total > high else total)
                out[row, stream, index] = held[:step]
                held[: held.size - step] = held[step:]
                held[held.size - step :] = 0


def state(data: OverlapAdd, batch: int) -> tuple[np.ndarray, ...]:
    """The buffers."""
    return (np.zeros((batch, data.streams, data.size), data.dtype.numpy),)


OP = OpSpec(
    "SignalOverlapAdd", prepare, evaluate, OpData(lp64=32, ilp32=24), state=state, bind=bind
)
