"""Unrolled recurrences as a converter leaves them: all products first, then the steps."""

from __future__ import annotations

import numpy as np

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.types import DType, Tensor
from tests.ops.graphs import model, op
from tests.ops.harness import tensor

NO_ACTIVATION = {"fused_activation_function": 0}


def i8(*shape: int, scale: float = 0.05, data: np.ndarray | None = None) -> Tensor:
    """An int8 tensor with zero point 3."""
    return tensor(DType.INT8, shape, scale=scale, zero_point=3, data=data)


def unrolled(steps: int, *, depth: int = 8, size: int = 4) -> Model:
    """h(t) = a(t) * h(t - 1) + b(t) * x(t) over `steps` frames, 8 operators a step."""
    rng = np.random.default_rng(steps)
    frames = i8(steps, depth)
    factors = i8(depth, size, data=rng.integers(-128, 128, (depth, size)))
    one = i8(1, data=np.array([23]))
    rows = [i8(1, depth) for _ in range(steps)]
    axis = tensor(DType.INT32, (), data=np.array(0))
    ops = [op("SPLIT", [axis, frames], rows, {"num_splits": steps})]
    columns = [i8(depth, 1) for _ in range(steps)]
    shape = tensor(DType.INT32, (2,), data=np.array([depth, 1]))
    for row, column in zip(rows, columns, strict=True):
        ops.append(op("RESHAPE", [row, shape], [column], {"new_shape": (depth, 1)}))
    decays, drives = [], []
    for column in columns:
        product, bent, decay = (i8(depth, size) for _ in range(3))
        ops.append(op("MUL", [column, factors], [product], NO_ACTIVATION))
        ops.append(op("ELU", [product], [bent]))
        ops.append(op("ADD", [bent, one], [decay], NO_ACTIVATION))
        decays.append(decay)
        drive = i8(depth, size)
        ops.append(op("MUL", [column, factors], [drive], NO_ACTIVATION))
        drives.append(drive)
    state = drives[0]
    results = []
    for decay, drive in zip(decays[1:], drives[1:], strict=True):
        kept, new, result = (i8(depth, size) for _ in range(3))
        ops.append(op("MUL", [decay, state], [kept], NO_ACTIVATION))
        ops.append(op("ADD", [kept, drive], [new], NO_ACTIVATION))
        ops.append(op("TANH", [new], [result := i8(depth, size, scale=1 / 128)]))
        state = new
        results.append(result)
    total = results[0]
    for result in results[1:]:
        total, before = i8(depth, size, scale=1 / 16), total
        ops.append(op("ADD", [before, result], [total], NO_ACTIVATION))
    return model(_numbered([frames], [total], ops))


def _numbered(inputs: list[Tensor], outputs: list[Tensor], ops: list[tuple]) -> Subgraph:
    """`graphs.subgraph` in linear time: thousands of tensors are found by identity."""
    number: dict[int, int] = {}
    tensors: list[Tensor] = []

    def index_of(item: Tensor) -> int:
        if id(item) not in number:
            number[id(item)] = len(tensors)
            tensors.append(item)
        return number[id(item)]

    first = tuple(map(index_of, inputs))
    operators = tuple(
        Operator(OperatorCode(name), tuple(map(index_of, xs)), tuple(map(index_of, ys)), *options)
        for name, xs, ys, *options in ops
    )
    return Subgraph(tuple(tensors), first, tuple(map(index_of, outputs)), operators)
