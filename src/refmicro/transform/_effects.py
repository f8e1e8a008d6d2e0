"""What operators do besides their outputs, and the order that this forces on them.

An operator touches a cell when it reads or writes a variable tensor, a resource variable, or a
tensor that several operators write; an operator that runs subgraphs touches what they touch. Two
operators of a subgraph keep their order where both touch one cell and one of them may write it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from refmicro.model.graph import Subgraph
from refmicro.program import Program

RESOURCE_OPERATORS = frozenset({"READ_VARIABLE", "ASSIGN_VARIABLE"})
"""Operators on resource variables; their first input says on which."""


class Touch(NamedTuple):
    """A cell, and whether it may be written."""

    cell: Hashable
    writes: bool


def forced_order(program: Program, graph: int) -> list[set[int]]:
    """For each operator of a subgraph, earlier ones that must stay before it for their effects."""
    effects = _Effects(program)
    last_write: dict[Hashable, int] = {}
    readers: dict[Hashable, list[int]] = {}
    result: list[set[int]] = []
    for index in range(len(program.nodes[graph])):
        before: set[int] = set()
        for cell, writes in effects.of_operator(graph, index).items():
            if cell in last_write:
                before.add(last_write[cell])
            if writes:
                before.update(readers.pop(cell, ()))
                last_write[cell] = index
            else:
                readers.setdefault(cell, []).append(index)
        result.append(before)
    return result


class _Effects:
    """Finds what each operator touches, subgraphs that it runs included."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._subgraphs = program.model.subgraphs
        self._shared = [_written_often(graph) for graph in self._subgraphs]
        self._names = [_resource_names(graph) for graph in self._subgraphs]
        self._inside: dict[int, tuple[Touch, ...]] = {}

    def of_operator(self, graph: int, index: int) -> dict[Hashable, bool]:
        """The cells that one operator touches, and whether it may write them."""
        cells: dict[Hashable, bool] = {}
        for cell, writes in self._touches(graph, index):
            cells[cell] = cells.get(cell, False) or writes
        return cells

    def _touches(self, graph: int, index: int) -> Iterator[Touch]:
        node = self._program.nodes[graph][index]
        op = node.operator
        tensors = self._subgraphs[graph].tensors
        for tensor in sorted({*op.inputs, *op.outputs} - {-1}):
            # Which kernels write to variable inputs is not declared, so that all of them may.
            if tensors[tensor].is_variable:
                yield Touch(("tensor", graph, tensor), True)
            elif tensor in self._shared[graph]:
                yield Touch(("tensor", graph, tensor), tensor in op.outputs)
        if op.name in RESOURCE_OPERATORS:
            cell = ("resource", self._names[graph][op.inputs[0]]) if self._named else "resources"
            yield Touch(cell, op.name == "ASSIGN_VARIABLE")
            if not self._named:
                # A constant id counts variables that must be there by then.
                yield Touch("handles", False)
        if op.name == "VAR_HANDLE":
            # TFLM numbers variables in this order.
            yield Touch("handles", True)
        if node.subgraphs:
            yield Touch("control flow", True)
            for callee in node.subgraphs:
                yield from self._of_subgraph(callee)

    @functools.cached_property
    def _named(self) -> bool:
        """Whether every use of a resource variable says which one it is."""
        return all(
            node.operator.inputs[0] in self._names[graph]
            for graph, nodes in enumerate(self._program.nodes)
            for node in nodes
            if node.name in RESOURCE_OPERATORS
        )

    def _of_subgraph(self, graph: int) -> tuple[Touch, ...]:
        """What a run of a subgraph touches, what its operators keep for themselves included."""
        if graph not in self._inside:
            nodes = self._program.nodes[graph]
            found = [touch for node in nodes for touch in self._touches(graph, node.index)]
            found += [
                Touch(("node", graph, node.index), True)
                for node in nodes
                if node.spec.state is not None
            ]
            self._inside[graph] = tuple(found)
        return self._inside[graph]


def _resource_names(graph: Subgraph) -> dict[int, str]:
    """The name of the resource variable that a tensor holds, where the subgraph says so.

    A handle without a container finds a variable in any, so that the name alone counts.
    """
    return {
        op.outputs[0]: op.options.get("shared_name") or ""
        for op in graph.operators
        if op.name == "VAR_HANDLE"
    }


def _written_often(graph: Subgraph) -> frozenset[int]:
    """Tensors that more than one operator writes, or an operator and the caller."""
    writers = Counter(graph.inputs)
    for op in graph.operators:
        writers.update(set(op.outputs))
    return frozenset(tensor for tensor, count in writers.items() if count > 1)
