"""ADD_N: output = the sum of two or more inputs of one shape.

Shapes: all inputs have the same shape, the output as many elements.
Quantization: int8, all inputs with the same scale and zero point; float32, summed in order.
Scratch: a pointer for each input.
Persistent: 40 bytes for int8.
Differs: where TFLM ends the program (scales of 0, a ratio of 2^19 or more) the model is refused.
Source: `tensorflow/lite/micro/kernels/add_n.cc`,
`tensorflow/lite/kernels/internal/reference/add_n.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._elementwise import require_same_elements, require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.ops._sum import ManySum
from refmicro.types import Abi, DType

_OP_DATA_BYTES = 40


@dataclass(frozen=True)
class AddN:
    """What eval needs; `quantized` is None for float32."""

    inputs: int
    shape: tuple[int, ...]
    quantized: ManySum | None


def prepare(ctx: PrepareContext) -> AddN:
    """Check types, shapes and scales, derive the multiplier."""
    count = len(ctx.node.inputs)
    ctx.require(count >= 2, "must have at least 2 inputs", count)
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    for index in range(1, count):
        other = ctx.input(index)
        ctx.require(
            other.shape == x.shape,
            "inputs must have the same shape",
            f"{list(x.shape)} and {list(other.shape)}",
        )
        require_same_type(ctx, x, other)
        if x.dtype is DType.INT8:
            ctx.require(
                (other.scale, other.zero_point) == (x.scale, x.zero_point),
                "inputs must have the same scale and zero point",
                f"{x.scale}, {x.zero_point} and {other.scale}, {other.zero_point}",
            )
    require_same_elements(ctx, x, output)
    quantized = None
    if x.dtype is DType.INT8:
        ctx.persistent(_OP_DATA_BYTES)
        quantized = ManySum.of(ctx, x, output)
    ctx.scratch(count * (8 if ctx.build.abi is Abi.LP64 else 4))
    return AddN(count, output.shape, quantized)


def evaluate(ctx: EvalContext, data: AddN) -> None:
    """One addition an input, in TFLM's order."""
    arrays = [ctx.input(index) for index in range(data.inputs)]
    if data.quantized is None:
        total: np.ndarray = np.float32(0) + arrays[0]
        with np.errstate(all="ignore"):
            for array in arrays[1:]:
                total = total + array
    else:
        sums = np.int32(data.quantized.start) + data.quantized.scaled(arrays[0])
        for array in arrays[1:]:
            sums = sums + data.quantized.scaled(array)
        total = data.quantized.outputs(sums)
    ctx.set_output(0, total.reshape(-1, *data.shape))


OP = OpSpec("ADD_N", prepare, evaluate)
