"""Functions of one quantized value, found by asking refmicro about every value there is.

An int8 tensor has 256 values and an int16 one 65,536, so that two chains of operators are proven
equal, and one is replaced by a table, without looking into what they compute.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator, Subgraph
from refmicro.types import DType, Tensor


def all_values(dtype: DType) -> np.ndarray:
    """Every value of an 8-bit or 16-bit integer type, lowest first."""
    limits = np.iinfo(dtype.numpy)
    return np.arange(limits.min, limits.max + 1, dtype=np.int64).astype(dtype.numpy)


def table_of(
    tensors: Sequence[Tensor] | Mapping[int, Tensor],
    operators: Sequence[Operator],
    source: int,
    result: int,
) -> np.ndarray | None:
    """What a chain of operators makes of every value of tensor `source`, in tensor `result`.

    All that the operators read must be `source`, what they compute themselves, or constants of one
    element. None where refmicro does not run the chain on vectors, or the type has more than 16
    bits.
    """
    if tensors[source].dtype not in (DType.INT8, DType.UINT8, DType.INT16):
        return None
    values = all_values(tensors[source].dtype)
    numbers: dict[int, int] = {-1: -1}
    vectors: list[Tensor] = []

    def number(index: int) -> int:
        if index not in numbers:
            numbers[index] = len(vectors)
            item = tensors[index]
            if item.is_constant and item.elements == 1:
                item = dataclasses.replace(item, shape=(), shape_signature=())
            else:
                item = dataclasses.replace(
                    item, shape=(values.size,), data=None, is_variable=False, shape_signature=()
                )
            vectors.append(item)
        return numbers[index]

    number(source)
    chain = tuple(
        dataclasses.replace(
            op,
            inputs=tuple(map(number, op.inputs)),
            outputs=tuple(map(number, op.outputs)),
        )
        for op in operators
    )
    if result not in numbers:
        return None
    graph = Subgraph(tuple(vectors), (0,), (numbers[result],), chain)
    try:
        interpreter = Interpreter(Model((graph,)))
    except (UnsupportedError, InvalidModelError):
        return None
    return interpreter.invoke_batch([values[None]])[0][0]


def constant_results(tensors: Sequence[Tensor], op: Operator) -> list[np.ndarray] | None:
    """The outputs of an operator whose inputs are all constants; None where refmicro refuses it."""
    used = sorted({i for i in (*op.inputs, *op.outputs) if i >= 0})
    numbers = {old: new for new, old in enumerate(used)} | {-1: -1}
    alone = dataclasses.replace(
        op,
        inputs=tuple(numbers[i] for i in op.inputs),
        outputs=tuple(numbers[i] for i in op.outputs),
    )
    graph = Subgraph(tuple(tensors[i] for i in used), (), alone.outputs, (alone,))
    try:
        return [array[0] for array in Interpreter(Model((graph,))).invoke_batch([])]
    except (UnsupportedError, InvalidModelError):
        return None
