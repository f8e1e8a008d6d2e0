"""Operators that only move values, by where refmicro's own kernel takes each value from.

The kernel runs here on the numbers of the input's elements; what comes out says which element each
output is. If steps between outputs are even in each dimension this is a strided copy, else a table.
"""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import around, parameter
from refmicro.emit.ops._movement import emit_strided
from refmicro.emit.ops._nest import contiguous
from refmicro.emit.unit import Op


class _Sources:
    """An `EvalContext` whose first input holds the numbers of its elements."""

    batch = 1

    def __init__(self, op: Op) -> None:
        self._op = op
        self.result: np.ndarray | None = None

    def input(self, index: int) -> np.ndarray:
        tensor = self._op.node.node.inputs[index]
        if index == 0:
            return np.arange(tensor.elements, dtype=np.int32).reshape(1, *tensor.shape)
        if not tensor.is_constant:
            self._op.refuse(f"computes input {index}, which says where values lie")
        return tensor.array()[None]

    def set_output(self, index: int, values: np.ndarray) -> None:
        self.result = values[0]


def emit_mapped(op: Op) -> None:
    """One copy of every output element."""
    context = _Sources(op)
    op.node.spec.eval(context, op.data)
    sources = context.result
    x, output = op.input(0), op.output()
    strides = _strides(sources)
    if strides is not None:
        extents = sources.shape
        steps = strides, contiguous(extents)
        emit_strided(op, x, output, extents, steps, (int(sources.flat[0]), 0))
        return
    kind = np.uint16 if sources.max() < 1 << 16 else np.int32
    table = op.constant("sources", sources.astype(kind))
    c_type = "const uint16_t *" if kind is np.uint16 else "const int32_t *"
    parameters = [
        parameter(x, "input"),
        (c_type, "sources", table),
        parameter(output, "output", write=True),
    ]
    op.kernel(parameters, around(output.tensor.elements, "output[i] = input[sources[i]];"))


def _strides(sources: np.ndarray) -> list[int] | None:
    """What one step in each dimension adds to the source, None where that is not even."""
    found = []
    for axis in range(sources.ndim):
        steps = np.diff(sources, axis=axis)
        if steps.size and (steps != steps.flat[0]).any():
            return None
        found.append(int(steps.flat[0]) if steps.size else 0)
    return found
