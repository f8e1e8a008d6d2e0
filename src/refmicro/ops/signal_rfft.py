"""SignalRfft, a custom operator: FFT of real frames, as KISS FFT computes it.

Shapes: input (..., samples), output (..., 2 * (fft_length / 2 + 1)), real and imaginary parts in
turn; frames are filled up with zeros to `fft_length`.
Quantization: int16, int32 or float32, named by option `T`. In fixed point the result is divided by
`fft_length`, and every product is rounded.
Scratch: fft_length values.
Persistent: 32 bytes (48 with 8-byte pointers); the FFT's plan.
Options: `T`, `fft_length`.
Differs: lengths with other factors than 2, 3 and 5, or odd ones, and outputs of another size are
refused; TFLM would follow a null pointer or write past the end. float32 agrees with a build without
fused multiply-add.
Source: `signal/micro/kernels/rfft.cc`, `signal/src/rfft_{int16,int32,float}.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro.ops import _kiss_fft, _signal
from refmicro.ops._spec import BindContext, EvalContext, Node, OpSpec, PrepareContext, Step
from refmicro.types import Abi, DType, TflmBuild

_TYPES = (DType.INT16, DType.INT32, DType.FLOAT32)
_FFT_LENGTH = 1


@dataclass(frozen=True)
class Rfft:
    """Number of frames, samples of each, and the transform."""

    frames: int
    samples: int
    dtype: DType
    length: int
    output_shape: tuple[int, ...]

    @cached_property
    def fft(self) -> _kiss_fft.RealFft:
        """The transform, whose tables are made when it first runs."""
        return _kiss_fft.RealFft(self.dtype, self.length, inverse=False)


def prepare(ctx: PrepareContext) -> Rfft:
    """Check types and sizes."""
    dtype = _signal.value_type(ctx, *_TYPES)
    (length,) = _signal.options_at(ctx, _FFT_LENGTH)
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    _signal.require_tensor(ctx, "output", output, dtype, len(x.shape))
    ctx.require_type("input", x, dtype)
    ctx.require_shape(len(x.shape) >= 1, "input must have at least 1 dimension", 0)
    samples = x.shape[-1]
    ctx.require_shape(samples > 0, "input frames must have samples", list(x.shape))
    ctx.require(samples <= length, f"input frames must have at most {length} samples", samples)
    ctx.require_shape(
        _kiss_fft.is_supported(length),
        "fft_length must be even and hold no other factors than 2, 3 and 5",
        length,
    )
    frames = math.prod(x.shape[:-1])
    size = 2 * (length // 2 + 1)
    ctx.require_shape(
        output.shape[-1] == size and output.elements == frames * size,
        f"output must have {frames} frames of {size} values",
        list(output.shape),
    )
    ctx.scratch(length * dtype.itemsize_bytes)
    return Rfft(frames, samples, dtype, length, output.shape)


def evaluate(ctx: EvalContext, data: Rfft) -> None:
    """All frames of the batch at once."""
    x = ctx.input(0)
    out = data.fft.forward(np.ascontiguousarray(x).reshape(-1, data.samples))
    ctx.set_output(0, out.reshape(x.shape[0], *data.output_shape))


def bind(ctx: BindContext, data: Rfft) -> list[Step] | None:
    """One call for all frames of int16."""
    x, out = ctx.input(0), ctx.output(0)
    if data.dtype is not DType.INT16 or x.shape[0] != ctx.rows:
        return None
    frames = ctx.rows * data.frames
    return [data.fft.int16_step(x.reshape(frames, -1), out.reshape(frames, -1))]


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then the plan."""
    state = _kiss_fft.state_bytes(
        build, _signal.type_of(node), _signal.option_at(node, _FFT_LENGTH)
    )
    return 48 if build.abi is Abi.LP64 else 32, state


OP = OpSpec("SignalRfft", prepare, evaluate, init_bytes, bind=bind)
