"""SignalStacker, a custom operator: frames side by side with those before and after them.

The last left + right + 1 frames are given, once so many have come and then every `stacker_step`
frames; the first frame counts left + 1 times.

Shapes: input a vector of num_channels or more values, output a vector of
num_channels * (left + right + 1); valid a scalar, whether the output is complete.
Quantization: int16, valid bool; values are copied.
Persistent: 36 bytes (56 with 8-byte pointers); 24 bytes (40) + 4 * the output's length.
State: the last frames and how many values count; none after `Reset`.
Options: `num_channels`, `stacker_left_context`, `stacker_right_context`, `stacker_step`.
Differs: an output that is not complete is zero; TFLM leaves what lies in the arena. Sizes that do
not fit are refused; TFLM would read and write outside the tensors.
Source: `signal/micro/kernels/stacker.cc`, `signal/src/circular_buffer.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops import _signal
from refmicro.ops._spec import BindContext, EvalContext, Node, OpSpec, PrepareContext, Step
from refmicro.types import Abi, DType, TflmBuild


@dataclass(frozen=True)
class Stacker:
    """Values of a frame, of all frames, and of those that go after each output."""

    channels: int
    size: int
    step: int
    left: int


def prepare(ctx: PrepareContext) -> Stacker:
    """Check types and sizes."""
    _signal.require_count(ctx, (1, 2))
    x, output, valid = ctx.input(0), ctx.output(0), ctx.output(1)
    _signal.require_tensor(ctx, "input", x, DType.INT16, 1)
    _signal.require_tensor(ctx, "output", output, DType.INT16, 1)
    _signal.require_tensor(ctx, "valid", valid, DType.BOOL, 0)
    channels, left, right, step = _signal.options_at(ctx, *range(4))
    ctx.require_shape(
        channels > 0 and left >= 0 and right >= 0 and 0 < step <= left + right + 1,
        "frames must not be empty, the step between 1 and the number of frames",
        f"{channels} channels, {left} + 1 + {right} frames, step {step}",
    )
    size = channels * (left + right + 1)
    _signal.require_elements(ctx, "input", x, channels)
    ctx.require_shape(output.elements == size, f"output must hold {size} values", output.elements)
    return Stacker(channels, size, channels * step, left)


def evaluate(ctx: EvalContext, data: Stacker) -> None:
    """One frame."""
    buffer, held = (array.copy() for array in ctx.read_state())
    out, valid = np.empty_like(buffer), np.empty(buffer.shape[0], np.bool_)
    _stack(ctx.input(0), data.channels, data.step, data.left, buffer, held, out, valid)
    ctx.set_output(0, out)
    ctx.set_output(1, valid)
    ctx.write_state(buffer, held)


def bind(ctx: BindContext, data: Stacker) -> list[Step]:
    """One call; the buffer is changed in place."""
    sizes = data.channels, data.step, data.left
    outputs = ctx.output(0), ctx.output(1)
    return [(_stack.ready, (ctx.input(0), *sizes, *ctx.state(), *outputs))]


@jit
def _stack(x, channels, step, left, buffer, held, out, valid):
    """A buffer holds its values at its end, `held` of them count; `held` below 0 is a new start.
    One row of x may stand for all."""
    size = buffer.shape[1]
    for row in range(out.shape[0]):
        memory, frame = buffer[row], x[row if x.shape[0] > 1 else 0, :channels]
        copies = left + 1 if held[row] < 0 else 1
        count = max(held[row], 0) + copies * channels
        memory[: size - channels] = memory[channels:]
        for i in range(copies):
            memory[size - (i + 1) * channels : size - i * channels] = frame
        valid[row] = count >= size
        if count >= size:
            out[row] = memory
            count -= step
        else:
            out[row] = 0
        held[row] = count


def state(data: Stacker, batch: int) -> tuple[np.ndarray, ...]:
    """The values, and how many count."""
    return np.zeros((batch, data.size), np.int16), np.full(batch, -1)


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """The kernel's own data, then the buffer."""
    channels, left, right = (_signal.option_at(node, position) for position in range(3))
    buffer = _signal.circular_buffer_bytes(build, channels * (left + right + 1))
    return 56 if build.abi is Abi.LP64 else 36, buffer


OP = OpSpec("SignalStacker", prepare, evaluate, init_bytes, state=state, bind=bind)
