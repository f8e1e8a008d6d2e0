"""Which operators may write their output over one of their inputs, without changing a bit.

Legal is a pair of one operator's input and output with as many elements of one width, where the
kernel reads element i of the input only to write element i of the output. Both then may lie at one
offset, in whichever order and in however wide words a kernel walks through them. The input must die
at this operator, because it is overwritten. RESHAPE writes what is there already, so its input may
live on: the two are views of the same bytes, as long as nobody writes to them.

Source: `tensorflow/lite/micro/kernels/` and the loops that these files call in
`tensorflow/lite/kernels/internal/reference/`; RESHAPE does nothing where both pointers are equal
(`reshape.cc`), SQUEEZE would call `memcpy` on overlapping memory and is left out.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from refmicro.memory.lifetimes import Lifetimes
from refmicro.program import PreparedNode, Program, is_computed
from refmicro.types import Tensor

ELEMENTWISE = frozenset(
    {
        "ABS",
        "ADD",
        "CAST",
        "CEIL",
        "COS",
        "DEQUANTIZE",
        "DIV",
        "ELU",
        "EXP",
        "EXPAND_DIMS",
        "FLOOR",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOG",
        "LOGICAL_AND",
        "LOGICAL_NOT",
        "LOGICAL_OR",
        "LOGISTIC",
        "MAXIMUM",
        "MINIMUM",
        "MUL",
        "NEG",
        "PRELU",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "ROUND",
        "RSQRT",
        "SIN",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
        "SUB",
        "TANH",
    }
)
"""Operators whose kernels read element i of an input as large as the output only for element i.

An input with as many elements as the output cannot be broadcast, so that this holds for operators
with two inputs as well, whatever the shape of the other one.
"""

VIEWS = frozenset({"RESHAPE"})
"""Operators that copy and do nothing where input and output are one."""


class InPlacePair(NamedTuple):
    """An operator's input and output that may share memory; indices of tensors."""

    subgraph: int
    operator: int
    input: int
    output: int
    is_view: bool


def in_place_pairs(program: Program, clock: Lifetimes) -> list[InPlacePair]:
    """All pairs of a program that may lie at one offset, in execution order.

    Views that chain up count as pairs of one another. The order of operators decides which input
    dies where, so the pairs hold for this program alone.
    """
    pairs = []
    for graph, nodes in enumerate(program.nodes):
        tensors = program.model.subgraphs[graph].tensors
        writers = Counter(i for node in nodes for i in node.operator.outputs)
        writers.update(program.model.subgraphs[graph].inputs)
        origin: dict[int, list[int]] = {}
        for node in nodes:
            for slot in _candidates(node, tensors, writers):
                source, output = node.operator.inputs[slot], node.operator.outputs[0]
                if node.name in VIEWS:
                    same = [*origin.get(source, ()), source]
                    origin[output] = same
                    pairs += [InPlacePair(graph, node.index, i, output, True) for i in same]
                elif _dies(clock, graph, node.index, source, output):
                    pairs.append(InPlacePair(graph, node.index, source, output, False))
    return pairs


def _candidates(
    node: PreparedNode, tensors: tuple[Tensor, ...], writers: Counter[int]
) -> list[int]:
    """Slots of inputs that are like the output in size and width, planned, and written once."""
    if node.name not in ELEMENTWISE | VIEWS or len(node.operator.outputs) != 1:
        return []
    output = node.operator.outputs[0]
    found = []
    for slot, index in enumerate(
        node.operator.inputs[:1] if node.name in VIEWS else node.operator.inputs
    ):
        if index < 0 or index in node.operator.inputs[:slot]:
            continue
        alike = (
            tensors[index].elements == tensors[output].elements
            and tensors[index].dtype.itemsize_bytes == tensors[output].dtype.itemsize_bytes
        )
        once = writers[index] == writers[output] == 1 and index != output
        if alike and once and is_computed(tensors[index]) and is_computed(tensors[output]):
            found.append(slot)
    return found


def _dies(clock: Lifetimes, graph: int, operator: int, source: int, output: int) -> bool:
    """Whether nobody needs the input after this operator, which must run at one step only."""
    start, end = clock.scratch[graph][operator]
    return (
        start == end
        and clock.last_time_used[graph][source] == end
        and clock.first_time_used[graph][output] == start
    )
