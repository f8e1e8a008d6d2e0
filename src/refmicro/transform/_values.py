"""What a subgraph computes, seen as values: each is written once and named by one number.

Variable tensors and tensors that several operators write get a new number for each write, so that a
pattern may be looked for without thinking of order. Operators that only move elements are seen
through: a value is then a choice of elements of another one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from refmicro.model.graph import Operator, Subgraph
from refmicro.transform._draft import Draft, same_values
from refmicro.transform._shapes import UNARY
from refmicro.transform._tables import constant_results, table_of
from refmicro.types import NO_QUANTIZATION, DType, Tensor

MOVES = {
    "EXPAND_DIMS": 0,
    "RESHAPE": 0,
    "SLICE": 0,
    "SPLIT": 1,
    "SPLIT_V": 0,
    "SQUEEZE": 0,
    "STRIDED_SLICE": 0,
    "TRANSPOSE": 0,
    "UNPACK": 0,
}
"""Operators that choose and order elements of one input, and the slot of it."""

JOINS = frozenset({"CONCATENATION", "PACK"})
"""Operators that put several values into one."""

WITH_SCALAR = frozenset({"ADD", "MUL", "SUB", "MAXIMUM", "MINIMUM"})
"""Operators of two inputs that are functions of one value where the other is a constant."""

_EXACT_IN_FLOAT32 = 1 << 24


@dataclass
class Values:
    """A subgraph in single assignment.

    Attributes:
        graph: a draft of it; operators keep their places, tensors their numbers.
        variable: the variable tensor behind a number that stands for one of its writes.
        final: the number of the last write of each tensor that has numbers of its own.
    """

    graph: Draft
    variable: dict[int, int]
    final: dict[int, int]
    _views: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)
    _moved: dict[int, list[np.ndarray] | None] = field(default_factory=dict)

    @staticmethod
    def of(subgraph: Subgraph) -> Values:
        """The values of a subgraph."""
        draft = Draft.of(subgraph)
        variable: dict[int, int] = {}
        current: dict[int, int] = {}
        for number, op in enumerate(draft.operators):
            inputs = tuple(current.get(i, i) for i in op.inputs)
            outputs = []
            for index in op.outputs:
                item = draft.tensors[index]
                if item.is_variable or len(draft.writers[index]) > 1:
                    copy = dataclasses.replace(item, is_variable=False)
                    current[index] = draft.add_tensor(copy)
                    variable[current[index]] = index
                outputs.append(current.get(index, index))
            draft.operators[number] = dataclasses.replace(op, inputs=inputs, outputs=tuple(outputs))
        draft.outputs = tuple(current.get(i, i) for i in draft.outputs)
        draft.index()
        return Values(draft, variable, current)

    def tensor(self, value: int) -> Tensor:
        """Type, shape and quantization of a value."""
        return self.graph.tensors[value]

    def operator(self, value: int) -> tuple[int, Operator] | None:
        """The operator that computes a value, with its place."""
        number = self.graph.producer(value)
        return None if number is None else (number, self.graph.operators[number])

    def named(self, value: int, *names: str) -> tuple[int, Operator] | None:
        """The same if it has one of these names."""
        found = self.operator(value)
        return found if found is not None and found[1].name in names else None

    def view(self, value: int) -> tuple[int, np.ndarray]:
        """The value that another one is made of, and which elements of it, in which shape."""
        path = [value]
        while path[-1] not in self._views and (source := self._source(path[-1])) is not None:
            path.append(source)
        for index in reversed(path):
            if index not in self._views:
                self._views[index] = self._view(index)
        return self._views[value]

    def taken(self, value: int) -> tuple[int, np.ndarray] | None:
        """The value that one operator chose elements of to make this one, and which elements."""
        source = self._source(value)
        if source is None:
            return None
        number, op = self.operator(value)
        moved = self._moves(number, op, source)
        if moved is None:
            return None
        return source, moved[op.outputs.index(value)].reshape(self.tensor(value).shape)

    def _source(self, value: int) -> int | None:
        """The value whose elements an operator moved to make this one."""
        found = self.named(value, *MOVES)
        if found is None:
            return None
        source = found[1].inputs[MOVES[found[1].name]]
        return source if same_values(self.tensor(source), self.tensor(value)) else None

    def _view(self, value: int) -> tuple[int, np.ndarray]:
        """The view of a value, where that of its source is known."""
        taken = self.taken(value)
        if taken is None:
            item = self.tensor(value)
            return value, np.arange(item.elements).reshape(item.shape)
        base, index = self._views[taken[0]]
        return base, index.reshape(-1)[taken[1]]

    def _moves(self, number: int, op: Operator, source: int) -> list[np.ndarray] | None:
        """Which elements of its input an operator's outputs hold; refmicro is asked with their
        numbers in place of their values."""
        if number not in self._moved:
            self._moved[number] = self._numbered(op, {source: 0})
        return self._moved[number]

    def joined(self, op: Operator) -> np.ndarray | None:
        """Where the elements of a join's inputs, counted through, end up in its output."""
        starts, start = {}, 0
        for index in op.inputs:
            if index in starts:
                return None
            starts[index] = start
            start += self.tensor(index).elements
        results = self._numbered(op, starts)
        return None if results is None else results[0]

    def _numbered(self, op: Operator, starts: dict[int, int]) -> list[np.ndarray] | None:
        tensors = list(self.graph.tensors)
        for index, start in starts.items():
            item = tensors[index]
            if start + item.elements > _EXACT_IN_FLOAT32:
                return None
            counted = np.arange(start, start + item.elements, dtype=np.float32)
            tensors[index] = _as_float(item, counted.tobytes())
        for index in op.outputs:
            tensors[index] = _as_float(tensors[index], None)
        results = constant_results(tensors, op)
        return None if results is None else [array.astype(np.int64) for array in results]

    def alias(self, value: int) -> int:
        """The value that this one is an exact copy of, itself where it is none."""
        base, index = self.view(value)
        if index.size == self.tensor(base).elements and _counts(index):
            return base
        return value

    def copies(self, value: int) -> set[int]:
        """The value and all exact copies of it."""
        found, queue = {value}, [value]
        while queue:
            for number, _ in self.graph.readers.get(queue.pop(), ()):
                for index in self.graph.operators[number].outputs:
                    if index not in found and self.alias(index) == self.alias(value):
                        found.add(index)
                        queue.append(index)
        return found

    def readers(self, value: int) -> list[tuple[int, Operator]]:
        """The operators that read a value or a copy of it, those that copy left out."""
        copies = self.copies(value)
        found = {}
        for index in copies:
            for number, _ in self.graph.readers.get(index, ()):
                op = self.graph.operators[number]
                if not any(output in copies for output in op.outputs):
                    found[number] = op
        return sorted(found.items())

    def is_output(self, value: int) -> bool:
        """Whether a value or a copy of it leaves the subgraph, or stays in a variable."""
        copies = self.copies(value)
        kept = {self.final[variable] for variable in self.final}
        return bool(copies & (set(self.graph.outputs) | kept))

    def columns(self, value: int, rows: int) -> list[int] | None:
        """The values that joins put side by side as the columns of a value with `rows` rows."""
        value = self.alias(value)
        count = self.tensor(value).elements // rows
        if count == 1:
            return [value]
        found = self.named(value, *JOINS)
        order = None if found is None else self.joined(found[1])
        if order is None or any(self.tensor(i).elements % rows for i in found[1].inputs):
            return None
        parts = [self.columns(i, rows) for i in found[1].inputs]
        if None in parts:
            return None
        places, start = [], 0
        for part in parts:
            width = len(part)
            block = start + np.arange(rows * width).reshape(rows, width)
            places += [block[:, column] for column in range(width)]
            start += rows * width
        every = [column for part in parts for column in part]
        table = order.reshape(rows, count)
        result = []
        for column in range(count):
            place = next((i for i, p in enumerate(places) if (p == table[:, column]).all()), None)
            if place is None:
                return None
            result.append(every[place])
        return result

    def descendants(self, values: set[int]) -> set[int]:
        """All values that depend on some, those included."""
        found = set(values)
        queue = list(values)
        while queue:
            for number, _ in self.graph.readers.get(queue.pop(), ()):
                for index in self.graph.operators[number].outputs:
                    if index not in found:
                        found.add(index)
                        queue.append(index)
        return found

    def itself(self, value: int) -> Function:
        """The function of a value that is this value."""
        return Function(self.alias(value), (), tuple(range(-128, 128)))

    def function(self, value: int, of: int | None = None) -> Function:
        """The operators that make a value of another one, element by element: as many as can be.

        They may branch and meet again, as long as all of it comes from one value in the end. It
        goes no further back than to the value `of`.
        """
        value = self.alias(value)
        best = self.itself(value)
        chain: dict[int, Operator] = {}
        leaves = {value}
        while leaves and best.source != of:
            # The value computed last cannot be needed by another leaf.
            found = {i: self._pointwise(i) for i in leaves}
            last = max(leaves, key=lambda i: -1 if found[i] is None else found[i][0])
            if found[last] is None:
                break
            number, op, data = found[last]
            chain[number] = op
            leaves = leaves - {last} | set(data)
            if len(leaves) == 1:
                (source,) = leaves
                operators = tuple(chain[i] for i in sorted(chain))
                table = table_of(self.graph.tensors, operators, source, value)
                if table is not None:
                    best = Function(source, operators, tuple(int(v) for v in table))
        return best

    def _pointwise(self, value: int) -> tuple[int, Operator, tuple[int, ...]] | None:
        """The operator that computes an int8 value element by element, its place, and of what."""
        found = self.operator(value)
        if found is None or self.tensor(value).dtype is not DType.INT8:
            return None
        number, op = found[0], self._through(found[1])
        if any(i < 0 or self.tensor(i).dtype is not DType.INT8 for i in op.inputs):
            return None
        data = tuple(i for i in op.inputs if not self._is_scalar(i))
        known = op.name in UNARY if len(op.inputs) == 1 else op.name in WITH_SCALAR
        alike = all(
            self.tensor(i).elements == self.tensor(value).elements
            and not self.tensor(i).is_constant
            for i in data
        )
        return (number, op, data) if known and alike and data else None

    def _through(self, op: Operator) -> Operator:
        """The operator as it reads what lies behind copies."""
        return dataclasses.replace(op, inputs=tuple(self.alias(i) for i in op.inputs))

    def _is_scalar(self, value: int) -> bool:
        item = self.tensor(value)
        return item.is_constant and item.elements == 1


@dataclass(frozen=True)
class Function:
    """A function of one int8 value: of which value, by which operators, and all 256 results."""

    source: int
    operators: tuple[Operator, ...]
    table: tuple[int, ...]


def _as_float(item: Tensor, data: bytes | None) -> Tensor:
    return dataclasses.replace(
        item, dtype=DType.FLOAT32, quantization=NO_QUANTIZATION, data=data, is_variable=False
    )


def _counts(index: np.ndarray) -> bool:
    """Whether indices are 0, 1, 2 and so on."""
    return bool((index.reshape(-1) == np.arange(index.size)).all())
