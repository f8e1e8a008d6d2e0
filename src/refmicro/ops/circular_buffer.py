"""CIRCULAR_BUFFER, a custom operator: the last inputs, newest at the end.

output = output[1:] + [input]; every `cycles_max`th invocation goes on, the others end there.

Shapes: input (batch, 1, w, depth), output (batch, slots, w, depth), a variable tensor. As in TFLM
only the first batch moves.
Quantization: int8, bytes are copied.
Persistent: 8 bytes. State: how many invocations remain until one goes on, full after `Reset`; the
values are in the output.
Options: `cycles_max`; where it is not above 0, TFLM looks at the output: 1 for 5, 13 or 25 slots,
else 2.
Differs: where TFLM's answer depends on how many of these operators the program prepared before
(w = 2, depth = 96), an absent `cycles_max` is refused. An output that is no variable tensor is
refused; TFLM would shift what lies in the arena. An invocation that ends early raises an error, as
TFLM returns kTfLiteAbort.
Source: `tensorflow/lite/micro/kernels/circular_buffer{,_common}.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._flexbuffer import read_map
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_SLOTS_OF_ONE_CYCLE = (5, 13, 25)


@dataclass(frozen=True)
class CircularBuffer:
    """`depth` values a slot."""

    slots: int
    depth: int
    cycles_max: int


def prepare(ctx: PrepareContext) -> CircularBuffer:
    """Check shapes and types, find the period."""
    ctx.require(len(ctx.node.inputs) == 1, "must have 1 input", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    for what, tensor in (("input", x), ("output", output)):
        ctx.require_shape(
            len(tensor.shape) == 4, f"{what} must have 4 dimensions", len(tensor.shape)
        )
    shape = (output.shape[0], 1, *output.shape[2:])
    ctx.require(x.shape == shape, f"input must have shape {list(shape)}", list(x.shape))
    ctx.require_type("input", x, DType.INT8)
    ctx.require_type("output", output, DType.INT8)
    ctx.require_shape(output.is_variable, "output must be a variable tensor", "a computed one")
    depth = output.shape[2] * output.shape[3]
    return CircularBuffer(output.shape[1], depth, _cycles_max(ctx, output))


def _cycles_max(ctx: PrepareContext, output: Tensor) -> int:
    given = 0
    if ctx.node.custom_options:
        try:
            given = read_map(ctx.node.custom_options).int_at(0)
        except ValueError as error:
            ctx.refuse("options must hold cycles_max", error, malformed=True)
    if given > 0:
        return given
    if output.shape[1] in _SLOTS_OF_ONE_CYCLE:
        return 1
    ctx.require(
        output.shape[2:] != (2, 96),
        "cycles_max must be given for an output of shape [..., 2, 96]",
        given,
    )
    return 2


def evaluate(ctx: EvalContext, data: CircularBuffer) -> None:
    """Shift, then say whether the invocation goes on."""
    x = ctx.input(0)
    kept = ctx.variable_output(0)
    out = np.array(np.broadcast_to(kept, (max(x.shape[0], kept.shape[0]), *kept.shape[1:])))
    first = out.reshape(out.shape[0], -1)
    moved = (data.slots - 1) * data.depth
    first[:, :moved] = kept.reshape(kept.shape[0], -1)[:, data.depth : data.depth + moved]
    first[:, moved : moved + data.depth] = x.reshape(x.shape[0], -1)[:, : data.depth]
    ctx.set_output(0, out)
    (remain,) = ctx.read_state()
    remain = remain - 1
    ctx.write_state(np.where(remain == 0, data.cycles_max, remain))
    if remain.any():
        raise UsageError(
            f"CIRCULAR_BUFFER ends this invocation: one of {data.cycles_max} goes on",
            hint="invoke again with the next input; TFLM returns kTfLiteAbort",
        )


def state(data: CircularBuffer, batch: int) -> tuple[np.ndarray, ...]:
    """Invocations until one goes on."""
    return (np.full(batch, data.cycles_max),)


OP = OpSpec("CIRCULAR_BUFFER", prepare, evaluate, OpData(lp64=8, ilp32=8), state=state)
