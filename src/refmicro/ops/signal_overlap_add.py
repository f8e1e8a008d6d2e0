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

from refmicro.ops import _signal
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType

_FRAME_STEP = 1


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
    (buffer,) = ctx.read_state()
    x = ctx.input(0)
    batch = max(x.shape[0], buffer.shape[0])
    shape = (batch, data.streams, data.frames, data.size)
    frames = np.broadcast_to(x.reshape(x.shape[0], *shape[1:]), shape)
    out = np.empty((batch, data.streams, data.frames, data.step), x.dtype)
    fresh = np.zeros((batch, data.streams, data.step), x.dtype)
    for index in range(data.frames):
        buffer = _sum(buffer, frames[:, :, index])
        out[:, :, index] = buffer[:, :, : data.step]
        buffer = np.concatenate([buffer[:, :, data.step :], fresh], axis=2)
    ctx.write_state(buffer)
    ctx.set_output(0, out.reshape(batch, *data.output_shape))


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int16 saturates."""
    if a.dtype == np.float32:
        return a + b
    return (a.astype(np.int32) + b).clip(-32768, 32767).astype(np.int16)


def state(data: OverlapAdd, batch: int) -> tuple[np.ndarray, ...]:
    """The buffers."""
    return (np.zeros((batch, data.streams, data.size), data.dtype.numpy),)


OP = OpSpec("SignalOverlapAdd", prepare, evaluate, OpData(lp64=32, ilp32=24), state=state)
