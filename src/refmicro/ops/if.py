"""IF: outputs = then(inputs 1...) where input 0 is true, else(inputs 1...) where it is false.

Shapes: input 0 is one bool; the other inputs are those of both subgraphs, the outputs are theirs;
each value has the same bytes everywhere.
Quantization: any type, bytes are copied.
Persistent: 8 bytes.
Differs: a subgraph that does not fit is refused also where it would never run. Values that change
their type and subgraph inputs that are constants or variables are refused; TFLM copies bytes.
Batches: each branch runs on the rows that take it.
Source: `tensorflow/lite/micro/kernels/if.cc`, `tensorflow/lite/micro/kernels/kernel_util.cc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.ops._subgraphs import require_copyable, require_writable, shaped
from refmicro.types import DType, Tensor


@dataclass(frozen=True)
class Branches:
    """Subgraph and input tensors for false and true, and the outputs."""

    subgraphs: tuple[int, int]
    inputs: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    outputs: tuple[Tensor, ...]


def prepare(ctx: PrepareContext) -> Branches:
    """Check both subgraphs' interfaces."""
    ctx.require(len(ctx.node.inputs) > 0, "must have a condition", "no inputs")
    condition = ctx.input(0)
    ctx.require_type("condition", condition, DType.BOOL)
    ctx.require(condition.elements == 1, "condition must be one bool", list(condition.shape))
    then, other = subgraphs(ctx.options)
    inputs, outputs = ctx.node.inputs[1:], ctx.node.outputs
    for name, index in (("then", then), ("else", other)):
        require_copyable(ctx, f"{name} inputs", inputs, ctx.model.subgraph_inputs(index))
        require_copyable(ctx, f"{name} outputs", outputs, ctx.model.subgraph_outputs(index))
        require_writable(ctx, f"{name} input", ctx.model.subgraph_inputs(index))
    return Branches(
        (other, then),
        (ctx.model.subgraph_inputs(other), ctx.model.subgraph_inputs(then)),
        outputs,
    )


def evaluate(ctx: EvalContext, data: Branches) -> None:
    """Run one branch, or each on its rows."""
    condition = ctx.input(0).reshape(-1)
    values = [ctx.input(index) for index in range(1, len(data.inputs[0]) + 1)]
    if (condition == condition[0]).all():
        branch = int(condition[0])
        results = ctx.run_subgraph(data.subgraphs[branch], shaped(values, data.inputs[branch]))
    else:
        values = [np.broadcast_to(array, (ctx.batch, *array.shape[1:])) for array in values]
        results = [np.empty((ctx.batch, *t.shape), t.dtype.numpy) for t in data.outputs]
        for branch in (0, 1):
            rows = np.flatnonzero(condition == branch)
            taken = shaped([array[rows] for array in values], data.inputs[branch])
            parts = ctx.run_subgraph(data.subgraphs[branch], taken, rows)
            for result, part in zip(results, shaped(parts, data.outputs), strict=True):
                result[rows] = part
    for index, array in enumerate(shaped(results, data.outputs)):
        ctx.set_output(index, array)


def subgraphs(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Then, else."""
    return options.get("then_subgraph_index", 0), options.get("else_subgraph_index", 0)


OP = OpSpec(
    "IF",
    prepare,
    evaluate,
    OpData(lp64=8, ilp32=8),
    params="TfLiteIfParams",
    subgraphs=subgraphs,
)
