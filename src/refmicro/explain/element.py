"""The worked arithmetic of one element: from operands to result, each rounding on its own line.

The model runs in the interpreter up to the operator that writes the element. Its operands then go
through TFLM's rule once more, in plain integers, step by step. The result must be the value that
the interpreter has.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refmicro.errors import DifferenceError, UsageError
from refmicro.explain._arithmetic import Step, Worked, worked
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator
from refmicro.program import PreparedNode
from refmicro.types import Tensor

MAX_TERMS = 12
"""Terms of a sum that are kept; the first ones, the rest is one line."""


@dataclass(frozen=True)
class ElementExplanation:
    """How one element came about.

    Attributes:
        subgraph, tensor, index: where it is; `index` has one number an axis.
        name: the tensor's.
        operator: its number, None where no operator writes the tensor.
        operator_name: what it is called; `input` or `constant` where there is none.
        formula: what the operator computes, in one line.
        steps: the arithmetic, in order.
        value: the result.
        real: the number that it stands for, None without quantization.
        is_worked: whether `steps` leads to the value; else they are its operands.
    """

    subgraph: int
    tensor: int
    index: tuple[int, ...]
    name: str
    operator: int | None
    operator_name: str
    formula: str
    steps: tuple[Step, ...]
    value: int | float
    real: float | None
    is_worked: bool


def explain_element(
    model: Model, inputs: Sequence[np.ndarray], place: tuple[int, int, Sequence[int]]
) -> ElementExplanation:
    """How one element of one tensor came about, in the last evaluation of its operator.

    Args:
        model: the model.
        inputs: one vector, an array an input.
        place: subgraph, tensor, and an index an axis or one flat index.

    Raises:
        UsageError: if there is no such element, or it is not written for these inputs.
        DifferenceError: if the worked result is not the interpreter's, a fault of refmicro.
    """
    graph, number, index = place
    item = _tensor(model, graph, number)
    position = _position(item, index)
    interpreter = Interpreter(model)
    recorder = _Recorder(interpreter, graph, number)
    interpreter.invoke_batch([np.asarray(array)[None] for array in inputs], recorder)
    found = recorder.found
    if item.is_constant:
        found = (-2, {number: item.array()[None]}, item.array()[None])
    if found is None:
        raise UsageError(
            f"tensor {graph}:{number} is not written for these inputs",
            hint="no operator writes it, or its subgraph did not run",
        )
    operator, operands, written = found
    value = written[0].reshape(item.shape)[position].item()
    common = (graph, number, position, item.name)
    real = (value - item.zero_point) * item.scale if item.quantization.is_affine else None
    if operator < 0:
        kind = "constant" if operator == -2 else "input"
        return ElementExplanation(*common, None, kind, "", (), value, real, True)
    node = interpreter.program.nodes[graph][operator]
    slot = node.operator.outputs.index(number)
    work = worked(node, slot, position, _operands(node.operator, operands, interpreter))
    if work.result is not None and work.result != value:
        raise DifferenceError(
            f"the worked result of {node.name} must be the interpreter's {value}: {work.result}",
            hint="this is a fault of refmicro; please report the model",
        )
    steps = _shortened(work)
    formula = _formula(node)
    done = work.result is not None
    return ElementExplanation(*common, operator, node.name, formula, steps, value, real, done)


def _tensor(model: Model, graph: int, number: int) -> Tensor:
    if not 0 <= graph < len(model.subgraphs):
        raise UsageError(f"a subgraph must be below {len(model.subgraphs)}: {graph}")
    tensors = model.subgraphs[graph].tensors
    if not 0 <= number < len(tensors):
        raise UsageError(f"a tensor of subgraph {graph} must be below {len(tensors)}: {number}")
    return tensors[number]


def _position(item: Tensor, index: Sequence[int]) -> tuple[int, ...]:
    """An index an axis, from these or from a flat one."""
    if len(index) == 1 and len(item.shape) != 1:
        if not 0 <= index[0] < item.elements:
            raise UsageError(f"a flat index must be below {item.elements}: {index[0]}")
        return tuple(int(i) for i in np.unravel_index(index[0], item.shape))
    if len(index) != len(item.shape) or not all(
        0 <= i < size for i, size in zip(index, item.shape, strict=True)
    ):
        raise UsageError(
            f"an index must lie inside of {list(item.shape)}: {','.join(map(str, index))}",
            hint="give one number an axis, such as 0,3,1, or one flat index",
        )
    return tuple(index)


class _Recorder:
    """Keeps what every tensor holds; at the operator that writes the wanted one, its operands."""

    def __init__(self, interpreter: Interpreter, graph: int, number: int) -> None:
        self._wanted = graph, number
        self._values: list[dict[int, np.ndarray]] = []
        for subgraph in interpreter.program.model.subgraphs:
            self._values.append(
                {
                    index: _reset(item)
                    for index, item in enumerate(subgraph.tensors)
                    if item.is_variable
                }
            )
        self.found: tuple[int, dict[int, np.ndarray], np.ndarray] | None = None

    def __call__(self, subgraph: int, operator: int, written: dict[int, np.ndarray]) -> None:
        graph, number = self._wanted
        if subgraph == graph and number in written:
            self.found = operator, dict(self._values[subgraph]), written[number].copy()
        self._values[subgraph] |= {index: array.copy() for index, array in written.items()}


def _reset(item: Tensor) -> np.ndarray:
    """What a variable tensor is before the first invocation."""
    point = item.zero_point if item.dtype.itemsize_bytes == 1 else 0
    return np.full((1, *item.shape), point, item.dtype.numpy)


def _operands(
    op: Operator, values: dict[int, np.ndarray], interpreter: Interpreter
) -> Callable[[int], np.ndarray | None]:
    """Gives the array of an input slot; None where it is absent or holds no numbers."""
    graph = next(
        g for g in interpreter.program.model.subgraphs if any(item is op for item in g.operators)
    )

    def operand(slot: int) -> np.ndarray | None:
        if slot >= len(op.inputs) or op.inputs[slot] < 0:
            return None
        index = op.inputs[slot]
        item = graph.tensors[index]
        if item.is_constant:
            return item.array()
        array = values.get(index)
        return None if array is None else array[0].reshape(item.shape)

    return operand


def _shortened(work: Worked) -> tuple[Step, ...]:
    """The steps, with long sums cut."""
    steps: list[Step] = []
    for step in work.steps:
        if len(step.terms) > MAX_TERMS:
            rest = len(step.terms) - MAX_TERMS
            terms = (*step.terms[:MAX_TERMS], f"and {rest} more")
            step = Step(step.text, step.value, terms)
        steps.append(step)
    return tuple(steps)


def _formula(node: PreparedNode) -> str:
    """The first sentence of the operator's file, which says what it computes."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith("refmicro.ops.") and getattr(module, "OP", None) is node.spec:
            return " ".join((module.__doc__ or "").split("\n\n")[0].split())
    return node.name


def real_text(value: float) -> str:
    """A real number, short."""
    return f"{value:.6g}" if math.isfinite(value) else str(value)
