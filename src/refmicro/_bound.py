"""Subgraphs bound to memory that stays: an invocation is then a list of calls.

A vector of a small graph costs more in Python's dispatch than in arithmetic: arrays are looked up,
checked, made and reshaped for every operator. After a few invocations with the same number of rows
every tensor is given an array of its own, each operator says once which compiled functions it calls
with which of them (`OpSpec.bind`), and only these calls are left. An operator that says nothing is
evaluated as ever and its results are copied to their places.

What is bound equals what is evaluated: `tests/ops/harness.py` compares both on every model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from refmicro._run import Context, GraphPlan, Run, State
from refmicro.ops._spec import Step, run_steps
from refmicro.program import PreparedNode

BOUND_BYTES = 64 << 20
"""A subgraph whose tensors need more at one time is not bound."""

_SLACK = 4
"""Memory is given to tensors that need at least one part in so many of it."""

BIND_AFTER = tuple(1 << power for power in range(1, 11))
"""Invocations after which a subgraph is bound: each time operators know better whether what takes
its time only once, such as a table, is worth it."""


class BoundGraphs:
    """What is bound of a model, each subgraph for up to two numbers of rows: a batch in equal parts
    ends with a smaller one."""

    def __init__(self, graphs: tuple[GraphPlan, ...]) -> None:
        self._graphs = graphs
        self._runs: Counter[tuple[int, int]] = Counter()
        self._bound: dict[tuple[int, int], BoundGraph] = {}
        self._bindable = tuple(map(_is_bindable, graphs))

    def count(self, index: int, rows: int) -> None:
        """Subgraph `index` has run on so many rows unbound; bind it where it is time to."""
        self._runs[index, rows] = runs = self._runs[index, rows] + 1
        fits = rows * self._graphs[index].peak_bytes <= BOUND_BYTES
        if self._bindable[index] and fits and runs >= BIND_AFTER[0]:
            self._bind(index, rows, runs)

    def _bind(self, index: int, rows: int, runs: int) -> None:
        others = [key for key in self._bound if key[0] == index and key[1] != rows]
        if len(others) > 1:
            del self._bound[others[0]]
        self._bound[index, rows] = BoundGraph(self._graphs[index], index, rows, runs)

    def run(
        self, run: Run, index: int, rows: int, inputs: Sequence[np.ndarray]
    ) -> list[np.ndarray] | None:
        """Outputs of one invocation, arrays of their own; None where nothing is bound."""
        bound = self._bound.get((index, rows))
        if bound is None:
            return None
        outputs = bound.run(run, inputs)
        if bound.runs in BIND_AFTER:
            self._bind(index, rows, bound.runs)
        return outputs


def _is_bindable(graph: GraphPlan) -> bool:
    """Whether every tensor has one value an invocation and no input is a variable."""
    written = [*graph.inputs]
    for node in graph.nodes:
        written += [item for item in node.operator.outputs if item not in graph.variables]
    once = len(set(written)) == len(written) and not graph.constants.keys() & set(written)
    return once and not graph.variable_inputs


class BoundGraph:
    """One subgraph for a fixed number of rows.

    Attributes:
        rows: of every array.
        runs: how often the subgraph has run.
        memory: arrays by tensor; constants have one row. Tensors share memory where the one is no
            longer read when the other is written; variable tensors never do.
    """

    def __init__(self, graph: GraphPlan, index: int, rows: int, runs: int) -> None:
        self.rows = rows
        self.runs = runs
        constants = graph.constants.keys() - graph.variables
        self.memory = {tensor: graph.constants[tensor] for tensor in constants}
        for tensor in graph.variables:
            item = graph.tensors[tensor]
            self.memory[tensor] = np.zeros((rows, *item.shape), item.dtype.numpy)
        self._graph = graph
        self._index = index
        self._stored: dict[int, np.ndarray] = {}
        self._kept: dict[int, tuple[np.ndarray, ...]] = {}
        self._kept_stored: dict[int, tuple[np.ndarray, ...]] = {}
        self._contexts: list[_StepContext] = []
        self._owned: dict[int, np.ndarray] = {}
        self._users: Counter[int] = Counter()
        self._free: list[np.ndarray] = []
        self._steps: list[Step] = []
        for tensor in graph.inputs:
            self.allocate(tensor)
        for node, dead in zip(graph.nodes, graph.dead_after, strict=True):
            self._steps += self._bind(node)
            for tensor in dead:
                self._release(tensor)
        self._inputs = [self.memory[tensor] for tensor in graph.inputs]
        self._outputs = [self._whole(self.memory[tensor]) for tensor in graph.outputs]
        self._has_state = bool(graph.variables or self._kept)

    def allocate(self, tensor: int) -> np.ndarray:
        """The tensor's memory, new if it has none yet."""
        if tensor not in self.memory:
            item = self._graph.tensors[tensor]
            shape, dtype = (self.rows, *item.shape), item.dtype.numpy
            nbytes = dtype.itemsize * math.prod(shape)
            fitting = [part for part in self._free if nbytes <= part.size <= _SLACK * nbytes]
            raw = min(fitting, key=len) if fitting else np.zeros(nbytes, np.uint8)
            self._free = [part for part in self._free if part is not raw]
            self._own(tensor, raw)
            self.memory[tensor] = raw[:nbytes].view(dtype).reshape(shape)
        return self.memory[tensor]

    def place(self, tensor: int, memory: np.ndarray, source: int) -> None:
        """Let a tensor be a view of another one's memory."""
        self.memory[tensor] = memory
        if source in self._owned:
            self._own(tensor, self._owned[source])

    def is_variable(self, tensor: int) -> bool:
        """Whether its memory changes when it is written, whoever reads it."""
        return tensor in self._graph.variables

    def _own(self, tensor: int, raw: np.ndarray) -> None:
        self._owned[tensor] = raw
        self._users[id(raw)] += 1

    def _release(self, tensor: int) -> None:
        raw = self._owned.get(tensor)
        if raw is not None:
            self._users[id(raw)] -= 1
            if self._users[id(raw)] == 0:
                self._free.append(raw)

    def _bind(self, node: PreparedNode) -> list[Step]:
        operator = node.operator
        steps = None
        present = {tensor for tensor in operator.inputs if tensor >= 0}
        if present <= self.memory.keys():
            binding = _Binding(self, node)
            steps = node.spec.bind(binding, node.data)
        for tensor in operator.outputs:
            self.allocate(tensor)
        if steps is not None:
            if binding.kept is not None:
                self._kept[node.index] = binding.kept
            return [*steps, *binding.copies]
        context = _StepContext(self._index, self._graph, self.memory, self.rows)
        context.node, context.step = operator, node.index
        context.expected = self._graph.expected[node.index]
        self._contexts.append(context)
        return [(node.spec.eval, (context, node.data))]

    def run(self, run: Run, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs of one invocation, arrays of their own."""
        for context in self._contexts:
            context.run = run
        for memory, values in zip(self._inputs, inputs, strict=True):
            memory[...] = values
        if self._has_state:
            self._load(run.state)
        try:
            run_steps(self._steps)
        finally:
            if self._has_state:
                self._save(run.state)
        self.runs += 1
        return [memory.copy() for memory in self._outputs]

    def _load(self, state: State) -> None:
        """Take the values of variable tensors and what operators keep, unless they are those of
        the last invocation."""
        for tensor in self._graph.variables:
            values = state.variables[self._index, tensor]
            if values is not self._stored.get(tensor):
                np.copyto(self.memory[tensor], values)
        for step, memory in self._kept.items():
            kept = state.nodes[self._index, step]
            if kept is not self._kept_stored.get(step):
                for target, values in zip(memory, kept, strict=True):
                    np.copyto(target, values)

    def _save(self, state: State) -> None:
        """Give them back as arrays of their own, which nobody writes to."""
        for tensor in self._graph.variables:
            self._stored[tensor] = state.variables[self._index, tensor] = self.memory[tensor].copy()
        for step, memory in self._kept.items():
            kept = tuple(array.copy() for array in memory)
            self._kept_stored[step] = state.nodes[self._index, step] = kept

    def _whole(self, array: np.ndarray) -> np.ndarray:
        if array.shape[0] == self.rows:
            return array
        return np.broadcast_to(array, (self.rows, *array.shape[1:]))


class _Binding:
    """The `BindContext` of one operator."""

    def __init__(self, graph: BoundGraph, node: PreparedNode) -> None:
        self.rows = graph.rows
        self.runs = graph.runs
        self.copies: list[Step] = []
        self.kept: tuple[np.ndarray, ...] | None = None
        self._graph = graph
        self._node = node
        self._operator = node.operator

    def input(self, index: int) -> np.ndarray:
        return self._graph.memory[self._operator.inputs[index]]

    def optional_input(self, index: int) -> np.ndarray | None:
        inputs = self._operator.inputs
        return None if index >= len(inputs) or inputs[index] < 0 else self.input(index)

    def output(self, index: int) -> np.ndarray:
        target = self._operator.outputs[index]
        memory = self._graph.allocate(target)
        if self._graph.is_variable(target) and target in self._operator.inputs:
            # All inputs are read as they were before.
            self.copies.append((np.copyto, (memory, fresh := np.empty_like(memory))))
            return fresh
        return memory

    def state(self) -> tuple[np.ndarray, ...]:
        fresh = self._node.spec.state(self._node.data, self.rows)
        self.kept = tuple(np.array(array, order="C") for array in fresh)
        return self.kept

    def place(self, index: int, source: int, memory: np.ndarray) -> None:
        assert memory.flags.c_contiguous
        target, source = self._operator.outputs[index], self._operator.inputs[source]
        if self._graph.is_variable(target) or self._graph.is_variable(source):
            self.copies.append((np.copyto, (self._graph.allocate(target), memory)))
        else:
            self._graph.place(target, memory, source)


class _StepContext(Context):
    """The `EvalContext` of an operator that is evaluated: results are copied to their places, since
    arrays that it is given change with the next invocation."""

    __slots__ = ()

    def __init__(
        self, index: int, graph: GraphPlan, memory: dict[int, np.ndarray], rows: int
    ) -> None:
        super().__init__(None, index, graph, memory, rows, None)

    def value(self, tensor: int) -> np.ndarray:
        # A variable tensor may be written before all of its values are used.
        is_variable = tensor in self.graph.variables
        return self.values[tensor].copy() if is_variable else super().value(tensor)

    def store(self, tensor: int, array: np.ndarray) -> None:
        np.copyto(self.values[tensor], array)

    def merged(self, stored: np.ndarray, array: np.ndarray) -> np.ndarray:
        return self.whole(array).copy()
