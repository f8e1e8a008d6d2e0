"""MIRROR_PAD: the input with its mirror image around it.

REFLECT leaves out the edge itself, SYMMETRIC repeats it.
Shapes: input of any rank, constant paddings (rank, 2), output of the same rank. TFLM takes as many
values as the output declares, whatever the paddings add up to.
Quantization: int8, float32; values are copied. Paddings are int32 or int64.
Scratch: 4 bytes a dimension, twice.
Differs: paddings that would mirror more than there is are refused where they lead outside of the
input; TFLM would read what lies there. Computed paddings are refused.
Source: `tensorflow/lite/micro/kernels/mirror_pad.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType, Tensor

_REFLECT = 0


@dataclass(frozen=True)
class MirrorPad:
    """What eval needs: for each dimension the input index of each output index."""

    output: Tensor
    indices: tuple[np.ndarray, ...]


def prepare(ctx: PrepareContext) -> MirrorPad:
    """Check types and shapes, derive where each value comes from."""
    x, paddings, output = ctx.input(0), ctx.input(1), ctx.output(0)
    rank = len(x.shape)
    ctx.require(len(paddings.shape) == 2, "paddings must have 2 dimensions", paddings.shape)
    ctx.require(paddings.shape[0] == rank, f"paddings must hold {rank} pairs", list(paddings.shape))
    ctx.scratch(4 * rank)
    ctx.scratch(4 * rank)
    ctx.require_type("output", output, DType.FLOAT32, DType.INT8)
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_shape(
        len(output.shape) == rank, f"output must have {rank} dimensions", output.shape
    )
    ctx.require_shape(
        paddings.dtype in (DType.INT32, DType.INT64),
        "paddings must be int32 or int64",
        paddings.dtype,
    )
    ctx.require_shape(paddings.shape[1] == 2, "paddings must be pairs", list(paddings.shape))
    ctx.require(paddings.is_constant, "paddings must be constant", "computed")
    # Without options TFLM knows no mode and mirrors the edge, too.
    reflect = ctx.options.get("mode") == _REFLECT
    indices = []
    for axis, (before, _) in enumerate(paddings.array().tolist()):
        index = _sources(output.shape[axis], before, x.shape[axis], int(reflect))
        ctx.require_shape(
            index.size == 0 or (index.min() >= 0 and index.max() < x.shape[axis]),
            f"dimension {axis} must be mirrored inside its {x.shape[axis]} values",
            f"{before} before, {output.shape[axis]} in all",
        )
        indices.append(index)
    return MirrorPad(output, tuple(indices))


def _sources(out: int, before: int, size: int, offset: int) -> np.ndarray:
    """`GetInputDimension` of each output index; `offset` is 1 where the edge is left out."""
    index = np.arange(out)
    first = before + offset - 1
    last = size - (1 + offset)
    inside = index - before
    mirrored_before = first - np.minimum(index, before - 1)
    mirrored_after = last - np.minimum(inside - size, last)
    return np.where(
        index < before, mirrored_before, np.where(inside < size, inside, mirrored_after)
    )


def evaluate(ctx: EvalContext, data: MirrorPad) -> None:
    """One dimension after the other."""
    values = ctx.input(0)
    for axis, index in enumerate(data.indices):
        values = values.take(index, axis + 1)
    ctx.set_output(0, values)


OP = OpSpec(
    "MIRROR_PAD",
    prepare,
    evaluate,
    OpData(lp64=20, ilp32=20),
    params="TfLiteMirrorPaddingParams",
)
