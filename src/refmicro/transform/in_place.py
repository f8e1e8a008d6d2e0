"""Which operators may write their output over one of their inputs, without changing a bit.

Legal is a pair of one operator's input and output with as many elements of one width, where the
kernel reads element i of the input before it writes element i of the output and not again. Both
then may lie at one offset, in whichever order and in however wide words a kernel walks through
them. The input must die at this operator, because it is overwritten. RESHAPE writes what is there
already, so its input may live on: the two are views of the same bytes, as long as nobody writes to
them.

Source: `tensorflow/lite/micro/kernels/` and the loops that these files call in
`tensorflow/lite/kernels/internal/reference/`; RESHAPE does nothing where both pointers are equal
(`reshape.cc`), SQUEEZE would call `memcpy` on overlapping memory and is left out.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from refmicro.memory.arena import Arena, model_arena
from refmicro.memory.lifetimes import Lifetimes
from refmicro.memory.verifier import find_conflicts, placements, tensor_name
from refmicro.model.graph import Model, Operator
from refmicro.program import Program, is_computed, prepare_model
from refmicro.types import TflmBuild

ELEMENTWISE = frozenset(
    {
        "ABS",
        "ADD",
        "CAST",
        "CEIL",
        "COS",
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

OWN_SLOTS = {"SELECTIVE_SCAN": ((0, 0), (1, 0), (6, 0), (7, 1))}
"""(input, output) of operators of which only some inputs may be written over.

`ops/selective_scan.py` says so of u, delta and z, and of the state.
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

    All views of one tensor count as pairs of one another. The order of operators decides which
    input dies where, so the pairs hold for this program alone.
    """
    pairs = []
    for graph, subgraph in enumerate(program.model.subgraphs):
        # The clock ends with the last operator, where outputs of the graph seem to die.
        outputs = set(subgraph.outputs)
        views: dict[int, list[int]] = {}
        for pair in like_pairs(program, graph):
            if pair.is_view:
                same = views.setdefault(pair.input, [pair.input])
                pairs += [pair._replace(input=tensor) for tensor in same]
                same.append(pair.output)
                views[pair.output] = same
            elif pair.input not in outputs and _dies(clock, pair):
                pairs.append(pair)
    return pairs


def like_pairs(program: Program, graph: int) -> list[InPlacePair]:
    """Inputs and outputs of one subgraph that may share memory where the input dies.

    They have as many elements of one width, TFLM plans both, and nobody else writes them.
    """
    subgraph = program.model.subgraphs[graph]
    writers = Counter(subgraph.inputs)
    for op in subgraph.operators:
        writers.update(op.outputs)

    def fits(source: int, output: int) -> bool:
        both = [subgraph.tensors[i] for i in (source, output)]
        return (
            source != output
            and all(is_computed(tensor) for tensor in both)
            and writers[source] == writers[output] == 1
            and both[0].elements == both[1].elements
            and both[0].dtype.itemsize_bytes == both[1].dtype.itemsize_bytes
        )

    return [
        InPlacePair(graph, index, source, output, op.name in VIEWS)
        for index, op in enumerate(subgraph.operators)
        for source, output in _slots(op)
        if source >= 0 and fits(source, output)
    ]


def _slots(op: Operator) -> list[tuple[int, int]]:
    """Input and output tensors of an operator that may share memory by what its kernel does."""
    if op.name in OWN_SLOTS:
        slots = [(i, o) for i, o in OWN_SLOTS[op.name] if i < len(op.inputs)]
        others = {t for i, t in enumerate(op.inputs) if i not in {slot for slot, _ in slots}}
        return [
            (op.inputs[i], op.outputs[o])
            for i, o in slots
            if o < len(op.outputs) and op.inputs[i] not in others
        ]
    if len(op.outputs) != 1 or op.name not in ELEMENTWISE | VIEWS:
        return []
    inputs = op.inputs[:1] if op.name in VIEWS else dict.fromkeys(op.inputs)
    return [(source, op.outputs[0]) for source in inputs]


def _dies(clock: Lifetimes, pair: InPlacePair) -> bool:
    """Whether nobody needs the input after this operator, which must run at one step only."""
    start, end = clock.scratch[pair.subgraph][pair.operator]
    return (
        start == end
        and clock.last_time_used[pair.subgraph][pair.input] == end
        and clock.first_time_used[pair.subgraph][pair.output] == start
    )


def memory_faults(model: Model) -> list[str]:
    """What the arena verifier finds in the plan that TFLM will make of a model, in both builds."""
    faults = []
    for build in (TflmBuild.firmware(), TflmBuild.wheel()):
        program = prepare_model(model, build)
        arena = model_arena(program)
        allowed = allowed_overlaps(program, arena)
        conflicts = find_conflicts(placements(arena, model), arena.head_bytes, allowed=allowed)
        faults += [f"{build.abi.value}: {conflict}" for conflict in conflicts]
    return faults


def allowed_overlaps(program: Program, arena: Arena) -> set[frozenset[str]]:
    """Names of pairs that share memory on purpose: output over input, both at one offset."""
    allowed = set()
    for pair in in_place_pairs(program, arena.lifetimes):
        one, other = (arena.tensors[pair.subgraph][i] for i in (pair.input, pair.output))
        if one.offset == other.offset:
            names = (tensor_name(pair.subgraph, i) for i in (pair.input, pair.output))
            allowed.add(frozenset(names))
    return allowed
