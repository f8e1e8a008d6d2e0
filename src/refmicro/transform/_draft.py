"""A subgraph under change: operators come and go, tensors change, unused ones go at the end.

A draft keeps the numbers of its tensors while it is worked on, so that a rule may hold on to them.
`Draft.subgraph` leaves out what nobody uses and counts anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from refmicro.model.graph import OFFLINE_PLAN_METADATA, Model, Operator, Signature, Subgraph
from refmicro.types import Quantization, Tensor

EFFECTS = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "IF", "READ_VARIABLE", "VAR_HANDLE", "WHILE"})
"""Builtin operators that do or see more than their tensors say."""

STATEFUL = frozenset({"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "RANDOM_UNIFORM", "MULTINOMIAL"})
"""Builtin operators whose outputs depend on more than their inputs."""


Order = Callable[[list[int]], list[int]]
"""Puts tensor numbers, given in the order of their first use, into another order."""


@dataclass
class Draft:
    """The working copy of one subgraph; a removed operator is None until `tidy`.

    `writers` holds the operators that write a tensor, `readers` (operator, slot) of those that read
    it, slot -1 for intermediates. Operators are changed with `put`, which keeps both true.
    """

    tensors: list[Tensor]
    operators: list[Operator | None]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str
    writers: dict[int, list[int]] = field(default_factory=dict)
    readers: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    @staticmethod
    def of(graph: Subgraph) -> Draft:
        """A draft that equals the subgraph."""
        draft = Draft(
            list(graph.tensors), list(graph.operators), graph.inputs, graph.outputs, graph.name
        )
        draft.index()
        return draft

    def index(self) -> None:
        """Find all writers and readers anew."""
        self.writers, self.readers = {}, {}
        for number, op in enumerate(self.operators):
            if op is not None:
                self._enter(number, op)

    def _enter(self, number: int, op: Operator) -> None:
        for slot, tensor in enumerate(op.inputs):
            if tensor >= 0:
                self.readers.setdefault(tensor, []).append((number, slot))
        for tensor in op.intermediates:
            if tensor >= 0:
                self.readers.setdefault(tensor, []).append((number, -1))
        for tensor in op.outputs:
            self.writers.setdefault(tensor, []).append(number)

    def put(self, number: int, new: Operator | None) -> None:
        """Put another operator, or none, in the place of one."""
        old = self.operators[number]
        if old is not None:
            for tensor in {i for i in (*old.inputs, *old.intermediates) if i >= 0}:
                kept = [item for item in self.readers[tensor] if item[0] != number]
                self.readers[tensor] = kept
            for tensor in set(old.outputs):
                self.writers[tensor] = [item for item in self.writers[tensor] if item != number]
        self.operators[number] = new
        if new is not None:
            self._enter(number, new)

    def add_tensor(self, tensor: Tensor) -> int:
        """The number of a new tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def producer(self, tensor: int) -> int | None:
        """The only operator that writes a tensor; None where there is none, or several."""
        writers = self.writers.get(tensor, ())
        return writers[0] if len(writers) == 1 else None

    def is_plain(self, tensor: int) -> bool:
        """Whether a tensor is computed once and seen by operators alone: no interface, no state."""
        item = self.tensors[tensor]
        return (
            not item.is_variable
            and not item.is_constant
            and tensor not in self.inputs
            and tensor not in self.outputs
            and len(self.writers.get(tensor, ())) == 1
        )

    def is_frozen(self, tensor: int) -> bool:
        """Whether a tensor's value never changes once it is there, so that it may be read later."""
        item = self.tensors[tensor]
        return not item.is_variable and len(self.writers.get(tensor, ())) <= 1

    def replace_inputs(self, old: int, new: int) -> None:
        """Let every reader of tensor `old` read `new`."""
        for number in {number for number, _ in self.readers.get(old, ())}:
            op = self.operators[number]
            self.put(
                number,
                dataclasses.replace(
                    op,
                    inputs=tuple(new if i == old else i for i in op.inputs),
                    intermediates=tuple(new if i == old else i for i in op.intermediates),
                ),
            )

    def tidy(self) -> list[str]:
        """Drop operators that are removed or whose results nobody needs; the names of the latter.

        What writes a variable or has an effect beyond its tensors stays, and so do custom operators
        that have no output.
        """
        needed = set(self.outputs)
        kept: list[Operator] = []
        dropped: list[str] = []
        for op in reversed([op for op in self.operators if op is not None]):
            remembers = op.code.builtin == "CUSTOM" or op.name in STATEFUL
            stays = (
                op.name in EFFECTS - {"READ_VARIABLE", "VAR_HANDLE"}
                or not op.outputs
                or any(i in needed or self.tensors[i].is_variable for i in op.outputs)
                or (remembers and any(i >= 0 and self.tensors[i].is_variable for i in op.inputs))
            )
            if stays:
                needed.update(i for i in (*op.inputs, *op.intermediates) if i >= 0)
                kept.append(op)
            else:
                dropped.append(op.name)
        self.operators = list(reversed(kept))
        self.index()
        return dropped

    def subgraph(self, order: Order = sorted) -> tuple[Subgraph, dict[int, int]]:
        """The finished subgraph, and new numbers of the tensors that are left by their old ones.

        `order` puts these, which come in the order of their first use, into that of their numbers.
        """
        operators = [op for op in self.operators if op is not None]
        used = dict.fromkeys(self.inputs)
        for op in operators:
            used.update(dict.fromkeys(i for i in (*op.inputs, *op.intermediates) if i >= 0))
            used.update(dict.fromkeys(op.outputs))
        used.update(dict.fromkeys(self.outputs))
        ordered = order(list(used))
        numbers = {old: new for new, old in enumerate(ordered)}
        numbers[-1] = -1
        graph = Subgraph(
            tuple(self.tensors[i] for i in ordered),
            renumbered(self.inputs, numbers),
            renumbered(self.outputs, numbers),
            tuple(
                dataclasses.replace(
                    op,
                    inputs=renumbered(op.inputs, numbers),
                    outputs=renumbered(op.outputs, numbers),
                    intermediates=renumbered(op.intermediates, numbers),
                )
                for op in operators
            ),
            self.name,
        )
        return graph, numbers


def renumbered(indices: Iterable[int], numbers: dict[int, int]) -> tuple[int, ...]:
    """Tensor numbers under their new names."""
    return tuple(numbers[i] for i in indices)


def with_drafts(model: Model, drafts: Sequence[Draft], order: Order = sorted) -> tuple[Model, bool]:
    """The model of finished drafts, and whether an offline plan had to go.

    A plan holds for the tensors and the order it was made for; where either changed it is dropped.
    """
    graphs, signatures = [], list(model.signatures)
    for number, draft in enumerate(drafts):
        graph, numbers = draft.subgraph(order)
        graphs.append(graph)
        signatures = [
            _renumbered_signature(item, numbers) if item.subgraph == number else item
            for item in signatures
        ]
    changed = tuple(graphs) != model.subgraphs
    result = dataclasses.replace(
        model,
        subgraphs=tuple(graphs),
        signatures=tuple(signatures),
        source=None if changed else model.source,
    )
    plan = model.metadata_value(OFFLINE_PLAN_METADATA) is not None
    if changed and plan:
        result = result.with_metadata(OFFLINE_PLAN_METADATA, None)
    return result, changed and plan


def _renumbered_signature(item: Signature, numbers: dict[int, int]) -> Signature:
    return dataclasses.replace(
        item,
        inputs=tuple((name, numbers[i]) for name, i in item.inputs),
        outputs=tuple((name, numbers[i]) for name, i in item.outputs),
    )


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether equal bytes mean equal numbers in both tensors."""
    return a.dtype is b.dtype and quantum(a) == quantum(b)


def quantum(tensor: Tensor) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    """What TFLM knows of a tensor's quantization; ranges in the file are not part of it."""
    q: Quantization = tensor.quantization
    if not q.is_affine:
        return (), (), 0
    axis = q.quantized_dimension if len(q.scale) > 1 else 0
    return q.scale, q.zero_point, axis
