"""Models of several operators and subgraphs for tests, from tensors instead of indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.types import DType, Tensor
from tests.ops.harness import tensor


def op(
    name: str,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    options: dict | None = None,
    options_type: str = "",
) -> tuple:
    """One operator of a `subgraph`; `options_type` as in `harness.model_of`."""
    if options is not None and not options_type:
        options_type = "".join(part.capitalize() for part in name.split("_")) + "Options"
    return name, tuple(inputs), tuple(outputs), options or {}, options_type


def subgraph(inputs: Sequence[Tensor], outputs: Sequence[Tensor], ops: Sequence[tuple]) -> Subgraph:
    """A subgraph; a tensor given twice (the same object) is one tensor."""
    tensors: list[Tensor] = []

    def index_of(item: Tensor | None) -> int:
        if item is None:
            return -1
        for number, known in enumerate(tensors):
            if known is item:
                return number
        tensors.append(item)
        return len(tensors) - 1

    graph_inputs = tuple(map(index_of, inputs))
    operators = tuple(
        Operator(
            OperatorCode(name),
            tuple(map(index_of, op_inputs)),
            tuple(map(index_of, op_outputs)),
            options,
            options_type,
        )
        for name, op_inputs, op_outputs, options, options_type in ops
    )
    graph_outputs = tuple(map(index_of, outputs))
    return Subgraph(tuple(tensors), graph_inputs, graph_outputs, operators)


def model(*subgraphs: Subgraph) -> Model:
    """A model of these subgraphs."""
    return Model(subgraphs, description="several subgraphs")


def int32(*values: int) -> Tensor:
    """A constant vector."""
    return tensor(DType.INT32, (len(values),), data=np.array(values))


def take(x: Tensor, y: Tensor, begin: int, end: int) -> tuple:
    """y = x[begin:end] of a vector."""
    options = dict.fromkeys(
        ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
    )
    return op("STRIDED_SLICE", [x, int32(begin), int32(end), int32(1)], [y], options)


def join(pieces: Sequence[Tensor], y: Tensor) -> tuple:
    """y = vectors one behind the other."""
    return op("CONCATENATION", pieces, [y], {"axis": 0, "fused_activation_function": 0})


def rotate(x: Tensor, y: Tensor, by: int = 1) -> list[tuple]:
    """y = x[by:] + x[:by] of a vector."""
    size = x.shape[0]
    front, back = tensor(x.dtype, (by,)), tensor(x.dtype, (size - by,))
    return [take(x, back, by, size), take(x, front, 0, by), join([back, front], y)]
