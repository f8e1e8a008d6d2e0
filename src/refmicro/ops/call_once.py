"""CALL_ONCE: runs a subgraph, which initialises resource variables, in the first invocation only.

Shapes: no inputs, no outputs; the subgraph has no inputs either.
Quantization: none, it moves no values.
Persistent: 8 bytes. That it has run survives `Reset`, while the variables that it set do not: only
a new allocation makes it run again.
Differs: a subgraph with inputs is refused; TFLM would run it on what lies in the arena.
Source: `tensorflow/lite/micro/kernels/call_once.cc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> int:
    """Returns the subgraph."""
    ctx.require(len(ctx.node.inputs) == 0, "must have no inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 0, "must have no outputs", len(ctx.node.outputs))
    (index,) = subgraphs(ctx.options)
    inputs = ctx.model.subgraph_inputs(index)
    ctx.require_shape(len(inputs) == 0, "the subgraph must have no inputs", len(inputs))
    return index


def evaluate(ctx: EvalContext, index: int) -> None:
    """Run it for the rows for which it has not run."""
    (has_run,) = ctx.read_state()
    if has_run.all():
        return
    rows = np.flatnonzero(~has_run) if has_run.any() else None
    ctx.run_subgraph(index, [], rows)
    ctx.write_state(np.ones(1, np.bool_))


def subgraphs(options: Mapping[str, Any]) -> tuple[int, ...]:
    """The subgraph that is run once."""
    return (options.get("init_subgraph_index", 0),)


def state(index: int, batch: int) -> tuple[np.ndarray, ...]:
    """Whether it has run."""
    return (np.zeros(batch, np.bool_),)


OP = OpSpec(
    "CALL_ONCE",
    prepare,
    evaluate,
    OpData(lp64=8, ilp32=8),
    params="TfLiteCallOnceParams",
    subgraphs=subgraphs,
    state=state,
    state_survives_reset=True,
)
