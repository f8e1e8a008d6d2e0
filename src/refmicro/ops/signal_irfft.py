"""SignalIrfft, a custom operator: real frames from spectra, as KISS FFT computes them.

Shapes: input (..., 2 * (fft_length / 2 + 1)), real and imaginary parts in turn, output
(..., fft_length).
Quantization: int16, int32 or float32, named by option `T`. Every product is rounded in fixed point,
whose result is divided by `fft_length`; so is that of float32, at the end.
Persistent: 24 bytes (32 with 8-byte pointers); the FFT's plan, 8 bytes more (16) for float32.
Options: `T`, `fft_length`.
Differs: lengths with other factors than 2, 3 and 5, or odd ones, and tensors of other sizes are
refused; TFLM would follow a null pointer or write past the end. float32 agrees with a build without
fused multiply-add.
Source: `signal/micro/kernels/irfft.cc`, `signal/src/irfft_{int16,int32,float}.cc`.
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
class Irfft:
    """The transform of each frame."""

    dtype: DType
    length: int
    output_shape: tuple[int, ...]

    @cached_property
    def fft(self) -> _kiss_fft.RealFft:
        """The transform, whose tables are made when it first runs."""
        return _kiss_fft.RealFft(self.dtype, self.length, inverse=True)


def prepare(ctx: PrepareContext) -> Irfft:
    """Check types and sizes."""
    dtype = _signal.value_type(ctx, *_TYPES)
    (length,) = _signal.options_at(ctx, _FFT_LENGTH)
    _signal.require_count(ctx, (1, 1))
    x, output = ctx.input(0), ctx.output(0)
    _signal.require_tensor(ctx, "output", output, dtype, len(x.shape))
    ctx.require_type("input", x, dtype)
    ctx.require_shape(len(x.shape) >= 1, "input must have at least 1 dimension", 0)
    ctx.require_shape(
        _kiss_fft.is_supported(length),
        "fft_length must be even and hold no other factors than 2, 3 and 5",
        length,
    )
    size, frames = 2 * (length // 2 + 1), math.prod(x.shape[:-1])
    ctx.require_shape(x.shape[-1] == size, f"input frames must have {size} values", x.shape[-1])
    ctx.require_shape(
        output.shape[-1] == length and output.elements == frames * length,
        f"output must have {frames} frames of {length} values",
        list(output.shape),
    )
    return Irfft(dtype, length, output.shape)


def evaluate(ctx: EvalContext, data: Irfft) -> None:
    """All frames of the batch at once."""
    x = np.ascontiguousarray(ctx.input(0))
    out = data.fft.backward(x.reshape(-1, data.length // 2 + 1, 2))
    if data.dtype is DType.FLOAT32:
        out = out / np.float32(data.length)
    ctx.set_output(0, out.reshape(x.shape[0], *data.output_shape))


def bind(ctx: BindContext, data: Irfft) -> list[Step] | None:
    """One call for all frames of int16."""
    x, out = ctx.input(0), ctx.output(0)
    if data.dtype is not DType.INT16 or x.shape[0] != ctx.rows:
        return None
    return [data.fft.int16_step(x.reshape(-1, data.length + 2), out.reshape(-1, data.length))]


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then the plan."""
    dtype = _signal.type_of(node)
    state = _kiss_fft.state_bytes(build, dtype, _signal.option_at(node, _FFT_LENGTH))
    if dtype is DType.FLOAT32:
        state += 2 * _signal.pointer_bytes(build)
    return 32 if build.abi is Abi.LP64 else 24, state


OP = OpSpec("SignalIrfft", prepare, evaluate, init_bytes, bind=bind)
