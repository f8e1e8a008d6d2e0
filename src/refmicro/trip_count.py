"""How often a WHILE loop runs its body, where the model itself says so.

Loops that converters and refmicro write count: the condition compares a carried counter with a
constant, the body adds a constant to that counter, and the counter starts at a constant. For any
other loop the count depends on data and is unknown.
"""

from __future__ import annotations

from refmicro.model.graph import Model, Operator, Subgraph
from refmicro.types import DType, Tensor

_COMPARISONS = {
    "LESS": lambda a, b: a < b,
    "LESS_EQUAL": lambda a, b: a <= b,
    "GREATER": lambda a, b: a > b,
    "GREATER_EQUAL": lambda a, b: a >= b,
    "NOT_EQUAL": lambda a, b: a != b,
}
_MIRRORED = {
    "LESS": "GREATER", "LESS_EQUAL": "GREATER_EQUAL", "GREATER": "LESS",
    "GREATER_EQUAL": "LESS_EQUAL", "NOT_EQUAL": "NOT_EQUAL",
}  # fmt: skip


def while_trip_count(model: Model, graph: Subgraph, op: Operator) -> int | None:
    """Iterations of one evaluation of the WHILE operator `op`, None where it is unknown."""
    condition = _subgraph(model, op.options.get("cond_subgraph_index", -1))
    body = _subgraph(model, op.options.get("body_subgraph_index", -1))
    if condition is None or body is None:
        return None
    test = _counter_test(condition)
    if test is None:
        return None
    slot, comparison, limit = test
    step = _counter_step(body, slot)
    start = _constant(graph.tensors[op.inputs[slot]]) if slot < len(op.inputs) else None
    if step is None or start is None:
        return None
    return _count(start, step, comparison, limit)


def _subgraph(model: Model, index: int) -> Subgraph | None:
    return model.subgraphs[index] if 0 <= index < len(model.subgraphs) else None


def _constant(tensor: Tensor) -> int | None:
    """The value of an integer constant of one element."""
    kinds = (DType.INT32, DType.INT64)
    if not tensor.is_constant or tensor.elements != 1 or tensor.dtype not in kinds:
        return None
    return int(tensor.array().reshape(-1)[0])


def _counter_test(graph: Subgraph) -> tuple[int, str, int] | None:
    """(loop variable, comparison, limit) of a condition that is one comparison."""
    if len(graph.operators) != 1 or graph.operators[0].name not in _COMPARISONS:
        return None
    op = graph.operators[0]
    if len(op.inputs) != 2 or op.outputs[:1] != graph.outputs[:1]:
        return None
    left, right = op.inputs
    limit = _constant(graph.tensors[right])
    if left in graph.inputs and limit is not None:
        return graph.inputs.index(left), op.name, limit
    limit = _constant(graph.tensors[left])
    if right in graph.inputs and limit is not None:
        return graph.inputs.index(right), _MIRRORED[op.name], limit
    return None


def _counter_step(graph: Subgraph, slot: int) -> int | None:
    """What the body adds to its loop variable `slot`."""
    if slot >= len(graph.outputs) or slot >= len(graph.inputs):
        return None
    target, source = graph.outputs[slot], graph.inputs[slot]
    writers = [op for op in graph.operators if target in op.outputs]
    if len(writers) != 1 or writers[0].name not in ("ADD", "SUB") or len(writers[0].inputs) != 2:
        return None
    left, right = writers[0].inputs
    if left == source:
        step = _constant(graph.tensors[right])
        return step if writers[0].name == "ADD" or step is None else -step
    if right == source and writers[0].name == "ADD":
        return _constant(graph.tensors[left])
    return None


def _count(start: int, step: int, comparison: str, limit: int) -> int | None:
    """Iterations until the comparison fails; None where it never does."""
    holds = _COMPARISONS[comparison]
    if not holds(start, limit):
        return 0
    distance = limit - start
    if comparison == "NOT_EQUAL":
        return distance // step if step and distance % step == 0 and distance // step > 0 else None
    if step == 0 or (step > 0) != comparison.startswith("LESS"):
        return None
    # The first n with start + n * step beyond the limit, or at it where equality ends the loop.
    whole, rest = divmod(abs(distance), abs(step))
    strict = comparison in ("LESS", "GREATER")
    return whole + (1 if rest else 0) if strict else whole + 1
