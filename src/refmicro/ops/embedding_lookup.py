"""EMBEDDING_LOOKUP: rows of a table, chosen by indices.

Shapes: lookup (n), table (rows, ...), output (n, ...).
Quantization: float32 or int8 copied; int8 with zero point 0 to float32: value * scale, in float32.
Persistent: 4 + 4 * rank bytes for the output's dimensions, which TFLM computes and writes; 16 bytes
(8 on 32-bit) of data.
Differs: an output that is declared with other dimensions than computed is refused, where TFLM runs
with any that are not larger. Where the arena is largest in a hybrid lookup's Prepare, 32 bytes less
than told may be enough.
Source: `tensorflow/lite/micro/kernels/embedding_lookup.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import Abi, DType, Tensor

_DATA_BYTES = {Abi.LP64: 16, Abi.ILP32: 8}


@dataclass(frozen=True)
class EmbeddingLookup:
    """What eval needs; `scale` is None where rows are copied."""

    table: Tensor
    output: Tensor
    scale: np.float32 | None


def prepare(ctx: PrepareContext) -> EmbeddingLookup:
    """Check types and shapes."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    lookup = ctx.input(0)
    ctx.require(len(lookup.shape) == 1, "lookup must have 1 dimension", lookup.shape)
    ctx.require_type("lookup", lookup, DType.INT32)
    table, output = ctx.input(1), ctx.output(0)
    ctx.require(len(table.shape) >= 2, "the table must have 2 dimensions or more", table.shape)
    ctx.require_type("the table", table, DType.FLOAT32, DType.INT8)
    allowed = (DType.FLOAT32,) if table.dtype is DType.FLOAT32 else (DType.FLOAT32, DType.INT8)
    ctx.require_type(f"output of a table of {table.dtype}", output, *allowed)
    shape = (lookup.shape[0], *table.shape[1:])
    ctx.require(output.shape == shape, f"output must be of shape {list(shape)}", list(output.shape))
    ctx.persistent(4 + 4 * len(shape))
    ctx.persistent(_DATA_BYTES[ctx.build.abi])
    if table.dtype is output.dtype:
        return EmbeddingLookup(table, output, None)
    ctx.require(
        table.zero_point == 0, "the table's zero point must be 0 for float output", table.zero_point
    )
    return EmbeddingLookup(table, output, np.float32(table.scale))


def evaluate(ctx: EvalContext, data: EmbeddingLookup) -> None:
    """Rows by index.

    Raises:
        UsageError: an index lies outside of the table; TFLM's Invoke fails there.
    """
    lookup, table = ctx.input(0), ctx.input(1)
    rows = data.table.shape[0]
    outside = (lookup < 0) | (lookup >= rows)
    if outside.any():
        found = int(lookup[outside].flat[0])
        raise UsageError(
            f"EMBEDDING_LOOKUP indices must be at least 0 and below {rows}: found {found}",
            hint="TFLM's Invoke fails with such an input",
        )
    batch = max(lookup.shape[0], table.shape[0])
    which = np.arange(batch)[:, None] % table.shape[0]
    out = table[which, np.broadcast_to(lookup, (batch, lookup.shape[1]))]
    if data.scale is not None:
        out = out.astype(np.float32) * data.scale
    ctx.set_output(0, out)


OP = OpSpec("EMBEDDING_LOOKUP", prepare, evaluate)
