"""WHILE: values = inputs; while condition(values): values = body(values); outputs = values.

Shapes: as many inputs as outputs, as inputs of both subgraphs and as outputs of the body; each
value has the same bytes everywhere. The first output of the condition subgraph decides by its first
element.
Quantization: any type, bytes are copied.
Persistent: 8 bytes.
Differs: a loop is stopped after `MAX_ITERATIONS`, TFLM would go on for ever. Sizes that differ are
refused also where the body would never run. Values that change their type, a condition that is no
bool, and subgraph inputs that are constants or variables are refused; TFLM copies bytes.
Batches: a row whose condition is false keeps its values while other rows go on.
Source: `tensorflow/lite/micro/kernels/while.cc`, `tensorflow/lite/micro/kernels/kernel_util.cc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.ops._subgraphs import require_copyable, require_writable, shaped
from refmicro.types import DType, Tensor

MAX_ITERATIONS = 100_000
"""After so many iterations a loop is taken to be endless."""


@dataclass(frozen=True)
class Loop:
    """The two subgraphs and the tensors that values are copied to."""

    condition: int
    body: int
    condition_inputs: tuple[Tensor, ...]
    body_inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def prepare(ctx: PrepareContext) -> Loop:
    """Check both subgraphs' interfaces."""
    condition = ctx.options.get("cond_subgraph_index", 0)
    body = ctx.options.get("body_subgraph_index", 0)
    inputs, outputs = ctx.node.inputs, ctx.node.outputs
    condition_inputs = ctx.model.subgraph_inputs(condition)
    body_inputs = ctx.model.subgraph_inputs(body)
    require_copyable(ctx, "condition inputs", inputs, condition_inputs)
    require_copyable(ctx, "body inputs", inputs, body_inputs)
    require_copyable(ctx, "outputs", inputs, outputs)
    require_copyable(ctx, "body outputs", outputs, ctx.model.subgraph_outputs(body))
    require_writable(ctx, "condition input", condition_inputs)
    require_writable(ctx, "body input", body_inputs)
    decides = ctx.model.subgraph_outputs(condition)
    ctx.require_shape(len(decides) > 0, "the condition must have an output", 0)
    ctx.require_shape(
        decides[0].dtype is DType.BOOL and decides[0].elements > 0,
        "the condition must be bool",
        decides[0].dtype,
    )
    return Loop(condition, body, condition_inputs, body_inputs, outputs)


def evaluate(ctx: EvalContext, data: Loop) -> None:
    """Run until the condition is false in every row."""
    values = [ctx.input(index) for index in range(len(data.outputs))]
    results: list[np.ndarray] | None = None
    rows: np.ndarray | None = None
    for _ in range(MAX_ITERATIONS):
        go_on = _condition(ctx, data, values, rows)
        if not go_on.all():
            if not go_on.any() and results is None:
                results = values
                break
            rows = np.arange(ctx.batch) if rows is None else rows
            values = [_whole(array, len(rows)) for array in values]
            results = results or [
                np.empty((ctx.batch, *array.shape[1:]), array.dtype) for array in values
            ]
            for result, array in zip(results, values, strict=True):
                result.reshape(ctx.batch, -1)[rows[~go_on]] = array[~go_on].reshape(
                    np.count_nonzero(~go_on), -1
                )
            if not go_on.any():
                break
            rows, values = rows[go_on], [array[go_on] for array in values]
        values = ctx.run_subgraph(data.body, shaped(values, data.body_inputs), rows)
    else:
        raise UsageError(
            f"WHILE must end within {MAX_ITERATIONS} iterations: its condition is still true",
            hint="check what the loop counts against these inputs",
        )
    for index, array in enumerate(shaped(results, data.outputs)):
        ctx.set_output(index, array)


def _condition(
    ctx: EvalContext, data: Loop, values: list[np.ndarray], rows: np.ndarray | None
) -> np.ndarray:
    """Whether each of the rows goes on."""
    decides = ctx.run_subgraph(data.condition, shaped(values, data.condition_inputs), rows)[0]
    return decides.reshape(decides.shape[0], -1)[:, 0]


def _whole(array: np.ndarray, count: int) -> np.ndarray:
    """An array that all rows may share, with a row for each."""
    return np.broadcast_to(array, (count, *array.shape[1:]))


def subgraphs(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Condition, then body."""
    return options.get("cond_subgraph_index", 0), options.get("body_subgraph_index", 0)


OP = OpSpec(
    "WHILE",
    prepare,
    evaluate,
    OpData(lp64=8, ilp32=8),
    params="TfLiteWhileParams",
    subgraphs=subgraphs,
)
