"""SELECT_V2: output = condition ? x : y.

Shapes: the three inputs broadcast to the output by NumPy's rules, at most 6 dimensions.
Quantization: bool condition; x and y int8, int16 or float32, scales are not looked at.
Source: `tensorflow/lite/micro/kernels/select.cc`,
`tensorflow/lite/kernels/internal/reference/select.h`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._elementwise import (
    MAX_RANK,
    require_counts,
    require_rank,
    require_same_elements,
    require_same_type,
)
from refmicro.ops._spec import EvalContext, OpData, OpSpec, PrepareContext
from refmicro.types import DType


@dataclass(frozen=True)
class Select:
    """Shapes of the three inputs with the output's rank, and the output's."""

    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]


def prepare(ctx: PrepareContext) -> Select:
    """Check types and shapes."""
    require_counts(ctx, 3)
    inputs = tuple(ctx.input(index) for index in range(3))
    output = ctx.output(0)
    condition, x, y = inputs
    ctx.require_type("condition", condition, DType.BOOL)
    require_same_type(ctx, x, y)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    require_same_type(ctx, x, output, malformed=True)
    require_rank(ctx, MAX_RANK, *inputs, output)
    single = all(tensor.elements == 1 for tensor in (*inputs, output))
    if single or condition.shape == x.shape == y.shape:
        require_same_elements(ctx, x, output)
        return Select(((x.elements,),) * 3, output.shape)
    rank = max(len(tensor.shape) for tensor in inputs)
    shapes = tuple((1,) * (rank - len(t.shape)) + t.shape for t in inputs)
    sizes = tuple(_common(sizes) for sizes in zip(*shapes, strict=True))
    ctx.require(
        sizes == output.shape,
        "inputs must broadcast to the output's shape",
        f"{' and '.join(str(list(t.shape)) for t in inputs)} to {list(output.shape)}",
    )
    return Select(shapes, output.shape)


def _common(sizes: tuple[int, ...]) -> int | None:
    """The size that all broadcast to, None where they do not."""
    largest = max(sizes)
    return largest if all(size in (1, largest) for size in sizes) else None


def evaluate(ctx: EvalContext, data: Select) -> None:
    """NumPy broadcasts."""
    arrays = [ctx.input(index) for index in range(3)]
    views = [a.reshape(a.shape[0], *s) for a, s in zip(arrays, data.inputs, strict=True)]
    out = np.where(*views)
    ctx.set_output(0, out.reshape(out.shape[0], *data.output))


OP = OpSpec("SELECT_V2", prepare, evaluate, OpData(lp64=1, ilp32=1))
