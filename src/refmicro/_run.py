"""One invocation: the values of each subgraph, the state between invocations, the order of things.

Every tensor is held as an array of shape (B, *shape), where B is the batch or 1 where all rows
share the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from refmicro.errors import InvalidModelError
from refmicro.program import PreparedNode, Program
from refmicro.types import DType, Tensor

Trace = Callable[[int, int, dict[int, np.ndarray]], None]
"""Called as trace(subgraph, operator, values by tensor) after each evaluation of an operator, with
every tensor that it wrote; operator -1 stands for the inputs of a subgraph."""


@dataclass(frozen=True)
class GraphPlan:
    """What running one subgraph needs: constants, which values die after which operator, and type
    and shape of what each operator writes."""

    nodes: tuple[PreparedNode, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, np.ndarray]
    variables: frozenset[int]
    variable_inputs: tuple[int, ...]
    dead_after: tuple[tuple[int, ...], ...]
    expected: tuple[tuple[tuple[np.dtype, tuple[int, ...]], ...], ...]
    peak_bytes: int
    written_bytes: int

    @staticmethod
    def of(program: Program, index: int) -> GraphPlan:
        graph = program.model.subgraphs[index]
        constants = {
            i: tensor.array()[None]
            for i, tensor in enumerate(graph.tensors)
            if tensor.is_constant and tensor.dtype is not DType.STRING
        }
        variables = frozenset(i for i, t in enumerate(graph.tensors) if t.is_variable)
        last: dict[int, int] = {}
        for step, op in enumerate(graph.operators):
            last.update({i: step for i in (*op.inputs, *op.outputs) if i >= 0})
        keep = set(graph.outputs) | variables | constants.keys()
        dead: list[list[int]] = [[] for _ in graph.operators]
        for tensor, step in last.items():
            if tensor not in keep:
                dead[step].append(tensor)
        live = peak = sum(graph.tensors[i].nbytes for i in graph.inputs)
        for step, op in enumerate(graph.operators):
            live += sum(graph.tensors[i].nbytes for i in op.outputs)
            peak = max(peak, live)
            live -= sum(graph.tensors[i].nbytes for i in dead[step])
        return GraphPlan(
            program.nodes[index],
            graph.tensors,
            graph.inputs,
            graph.outputs,
            constants,
            variables,
            tuple(i for i in graph.inputs if i in variables),
            tuple(tuple(items) for items in dead),
            tuple(
                tuple((t.dtype.numpy, t.shape) for t in node.node.outputs)
                for node in program.nodes[index]
            ),
            peak,
            sum(graph.tensors[i].nbytes for op in graph.operators for i in op.outputs),
        )


@dataclass
class State:
    """Variable tensors by (subgraph, tensor), resource variables by id, and what operators keep in
    their own data by (subgraph, operator); each with B rows."""

    batch: int
    variables: dict[tuple[int, int], np.ndarray]
    resources: list[np.ndarray]
    nodes: dict[tuple[int, int], tuple[np.ndarray, ...]]

    @staticmethod
    def reset(program: Program, batch: int, before: State | None = None) -> State:
        """As TFLM resets: int8 variables and resources to their zero point, others to zero bytes.

        `before` is the state that is reset, None for a new interpreter; operators without Reset
        keep theirs.

        Source: `ResetTensorData` in `tensorflow/lite/micro/micro_interpreter_graph.cc` and
        `ResetAll` in `micro_resource_variable.cc`.
        """
        variables = {}
        for number, graph in enumerate(program.model.subgraphs):
            for index, tensor in enumerate(graph.tensors):
                if tensor.is_variable:
                    points = tensor.quantization.zero_point
                    # It is memset with the point's low byte.
                    value = points[0] & 0xFF if tensor.dtype is DType.INT8 and points else 0
                    raw = np.full((batch, tensor.nbytes), value, np.uint8)
                    variables[number, index] = raw.view(tensor.dtype.numpy).reshape(
                        batch, *tensor.shape
                    )
        resources = [
            np.full((batch, item.nbytes or 0), item.reset_byte, np.uint8)
            for item in program.resources
        ]
        nodes = {}
        for number, graph_nodes in enumerate(program.nodes):
            for node in graph_nodes:
                if node.spec.state is not None:
                    place = number, node.index
                    kept = before is not None and node.spec.state_survives_reset
                    nodes[place] = (
                        before.nodes[place] if kept else node.spec.state(node.data, batch)
                    )
        return State(batch, variables, resources, nodes)


class Bound(Protocol):
    """Subgraphs whose memory is fixed, see `_bound.py`."""

    def run(
        self, run: Run, index: int, rows: int, inputs: Sequence[np.ndarray]
    ) -> list[np.ndarray] | None:
        """Outputs of one invocation of a subgraph that is bound for so many rows, else None."""

    def count(self, index: int, rows: int) -> None:
        """A subgraph has run without being bound."""


class Run:
    """One invocation: walks subgraphs, holds live values; without `bound` nothing is bound."""

    def __init__(
        self,
        graphs: tuple[GraphPlan, ...],
        state: State,
        trace: Trace | None,
        bound: Bound | None = None,
    ) -> None:
        self.graphs = graphs
        self.state = state
        self.trace = trace
        self.bound = bound

    def subgraph(
        self, index: int, inputs: Sequence[np.ndarray], rows: np.ndarray | None
    ) -> list[np.ndarray]:
        """Run subgraph `index` on arrays with as many rows as `rows` (None: the whole batch)."""
        graph = self.graphs[index]
        batch = self.state.batch if rows is None else len(rows)
        if self.bound is not None and rows is None:
            results = self.bound.run(self, index, batch, inputs)
            if results is not None:
                return results
        values = dict(graph.constants)
        values.update(zip(graph.inputs, inputs, strict=True))
        if self.trace is not None:
            self.trace(index, -1, dict(zip(graph.inputs, inputs, strict=True)))
        context = Context(self, index, graph, values, batch, rows)
        for tensor in graph.variable_inputs:
            context.store(tensor, values[tensor])
        for node, dead, expected in zip(graph.nodes, graph.dead_after, graph.expected, strict=True):
            context.node = node.operator
            context.step = node.index
            context.expected = expected
            context.written = {}
            node.spec.eval(context, node.data)
            if self.trace is not None:
                self.trace(index, node.index, context.written)
            for tensor in dead:
                values.pop(tensor, None)
        if self.bound is not None and rows is None:
            self.bound.count(index, batch)
        return [context.whole(context.value(tensor)) for tensor in graph.outputs]


class Context:
    """The `EvalContext` of one subgraph invocation."""

    __slots__ = (
        "batch",
        "expected",
        "graph",
        "index",
        "node",
        "rows",
        "run",
        "step",
        "values",
        "written",
    )

    def __init__(
        self,
        run: Run,
        index: int,
        graph: GraphPlan,
        values: dict[int, np.ndarray],
        batch: int,
        rows: np.ndarray | None,
    ) -> None:
        self.run = run
        self.index = index
        self.graph = graph
        self.values = values
        self.batch = batch
        self.rows = rows
        self.node: Any = None
        self.step = 0
        self.expected: tuple[tuple[np.dtype, tuple[int, ...]], ...] = ()
        self.written: dict[int, np.ndarray] = {}

    def value(self, tensor: int) -> np.ndarray:
        if tensor in self.graph.variables:
            return self.taken(self.run.state.variables[self.index, tensor])
        try:
            return self.values[tensor]
        except KeyError:
            raise InvalidModelError(
                f"subgraph {self.index}, tensor {tensor}: is read, but the operator that has it as "
                "an output does not write it",
                hint="the operator has more outputs than TFLM gives it; convert the model again",
            ) from None

    def store(self, tensor: int, array: np.ndarray) -> None:
        if tensor in self.graph.variables:
            stored = self.run.state.variables
            stored[self.index, tensor] = self.merged(stored[self.index, tensor], array)
        else:
            self.values[tensor] = array
        self.written[tensor] = array

    def whole(self, array: np.ndarray) -> np.ndarray:
        """The array with all rows of the batch."""
        if array.shape[0] == self.batch:
            return array
        return np.broadcast_to(array, (self.batch, *array.shape[1:]))

    def taken(self, stored: np.ndarray) -> np.ndarray:
        """The rows of some state that this invocation runs on."""
        return stored if self.rows is None else stored[self.rows]

    def merged(self, stored: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Some state with new values in the rows that this invocation runs on."""
        if self.rows is None:
            return self.whole(array)
        stored = stored.copy()
        stored[self.rows] = array
        return stored

    def input(self, index: int) -> np.ndarray:
        return self.value(self.node.inputs[index])

    def optional_input(self, index: int) -> np.ndarray | None:
        inputs = self.node.inputs
        if index >= len(inputs) or inputs[index] < 0:
            return None
        return self.value(inputs[index])

    def set_output(self, index: int, values: np.ndarray) -> None:
        dtype, shape = self.expected[index]
        assert values.dtype == dtype, (values.dtype, dtype)
        assert values.shape[1:] == shape, (values.shape, shape)
        self.store(self.node.outputs[index], values)

    def set_input(self, index: int, values: np.ndarray) -> None:
        self.store(self.node.inputs[index], values)

    def variable_output(self, index: int) -> np.ndarray:
        return self.value(self.node.outputs[index])

    def run_subgraph(
        self, index: int, inputs: Sequence[np.ndarray], rows: np.ndarray | None = None
    ) -> list[np.ndarray]:
        if rows is not None and self.rows is not None:
            rows = self.rows[rows]
        return self.run.subgraph(index, inputs, self.rows if rows is None else rows)

    def resource(self, identifier: int) -> np.ndarray:
        resources = self.run.state.resources
        if not 0 <= identifier < len(resources) or resources[identifier].shape[1] == 0:
            raise InvalidModelError(
                f"a resource variable must exist and be assigned somewhere: id {identifier}",
                hint="VAR_HANDLE gives ids, ASSIGN_VARIABLE next to it fixes the size",
            )
        return resources[identifier]

    def read_resource(self, identifier: int) -> np.ndarray:
        return self.taken(self.resource(identifier))

    def write_resource(self, identifier: int, values: np.ndarray) -> None:
        stored = self.resource(identifier)
        self.run.state.resources[identifier] = self.merged(stored, values)

    def read_state(self) -> tuple[np.ndarray, ...]:
        return tuple(map(self.taken, self.run.state.nodes[self.index, self.step]))

    def write_state(self, *arrays: np.ndarray) -> None:
        stored = self.run.state.nodes[self.index, self.step]
        self.run.state.nodes[self.index, self.step] = tuple(map(self.merged, stored, arrays))
