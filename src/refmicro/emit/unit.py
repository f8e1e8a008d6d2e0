"""A translation unit under construction, and what an operator's emitter sees of it.

Emitters run before memory is planned, because they say what scratch memory they need. They write
statements with places in them ("tensor 3 of subgraph 0") that get addresses afterwards. Functions
and constants of equal text are written once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from refmicro.emit import c_text
from refmicro.errors import UnsupportedError
from refmicro.ops.registry import module_name
from refmicro.program import PreparedNode, Program, place
from refmicro.types import Tensor


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor that is no constant lies; known after planning."""

    subgraph: int
    tensor: int


@dataclass(frozen=True)
class ScratchPlace:
    """Memory that one operator uses while it runs."""

    subgraph: int
    operator: int
    number: int


@dataclass(frozen=True)
class StatePlace:
    """Memory that lives through all invocations: a resource variable, or what a node keeps."""

    key: tuple


Place = TensorPlace | ScratchPlace | StatePlace


@dataclass(frozen=True)
class State:
    """Bytes of a `StatePlace`, its alignment and what reset writes; None where reset writes
    nothing, after bytes of zero at the start of the program."""

    nbytes: int
    alignment: int
    reset: bytes | None


@dataclass(frozen=True)
class Statement:
    """C text with `{0}`, `{1}`, ... for the places in it; other braces are doubled."""

    text: str
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Operand:
    """A tensor as an argument.

    `where` is its place; None for a constant, which is written under a name that begins with `base`
    where it is passed as it is.
    """

    tensor: Tensor
    where: Place | None
    base: str = ""

    @property
    def c_type(self) -> str:
        """The type of an element."""
        return c_text.TYPES[self.tensor.dtype]

    @property
    def is_constant(self) -> bool:
        """Whether it lies among the constants."""
        return self.where is None


@dataclass
class Unit:
    """What the C file will hold.

    Attributes:
        program: the model that is emitted.
        target: name of the machine.
        constants: text of arrays by name, in order.
        constant_bytes: size of each.
        functions: text by name, in order.
        scratch: bytes of each scratch memory.
        states: memory that lives on, by place.
    """

    program: Program
    target: str
    constants: dict[str, str] = field(default_factory=dict)
    constant_bytes: dict[str, int] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    scratch: dict[ScratchPlace, int] = field(default_factory=dict)
    states: dict[StatePlace, State] = field(default_factory=dict)
    _constant_names: dict[tuple, str] = field(default_factory=dict)
    _function_names: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def name(self, base: str) -> str:
        """A name that is not taken: `base_0`, `base_1`, ..."""
        number = self._counts.get(base, 0)
        self._counts[base] = number + 1
        return f"{base}_{number}"

    def constant(self, base: str, values: np.ndarray) -> str:
        """The name of a constant array with these values."""
        values = np.ascontiguousarray(values)
        c_type = c_text.NUMPY_TYPES[values.dtype]
        key = (c_type, values.size, values.tobytes())
        if key not in self._constant_names:
            name = self._constant_names[key] = self.name(base)
            self.constants[name] = c_text.array(c_type, name, values)
            self.constant_bytes[name] = values.nbytes
        return self._constant_names[key]

    def word_constant(self, base: str, values: np.ndarray) -> str:
        """The expression of a constant int8 array that lies at a multiple of four bytes."""
        values = np.ascontiguousarray(values, np.int8)
        key = ("aligned", values.size, values.tobytes())
        if key not in self._constant_names:
            name = self._constant_names[key] = self.name(base)
            self.constants[name] = c_text.aligned_array(name, values)
            self.constant_bytes[name] = -(-values.nbytes // 4) * 4
        return f"{self._constant_names[key]}.values"

    def weights(self, base: str, packed: Mapping[str, np.ndarray]) -> str:
        """The name of a `struct mema_weights` of these arrays."""
        members = []
        for member in ("filter", "bias", "multiplier", "shift"):
            values = packed.get(member)
            if values is None:
                members.append("0")
            elif member in ("filter", "shift"):
                members.append(self.word_constant(f"{base}_{member}", values))
            else:
                members.append(self.constant(f"{base}_{member}", values))
        key = ("weights", *members)
        if key not in self._constant_names:
            name = self._constant_names[key] = self.name(f"{base}_weights")
            text = ", ".join(members)
            self.constants[name] = f"static const struct mema_weights {name} = {{{text}}};\n"
            self.constant_bytes[name] = 16
        return self._constant_names[key]

    def function(self, base: str, parameters: Sequence[str], body: str, about: str = "") -> str:
        """The name of a function of this text, which returns nothing."""
        parts = ", ".join(parameters) or "void"
        key = f"({parts})\n{{\n{c_text.indented(body)}\n}}\n"
        if key not in self._function_names:
            name = self._function_names[key] = self.name(base)
            head = f"static void {name}({parts})"
            if len(head) > c_text.LINE_CHARACTERS:
                parts = ",\n    ".join(parameters)
                head = f"static void {name}(\n    {parts})"
            note = f"/* {c_text.comment(about)} */\n" if about else ""
            self.functions[name] = f"{note}{head}\n{{\n{c_text.indented(body)}\n}}\n"
        return self._function_names[key]

    def whole_function(self, base: str, text: str, placeholder: str = "NAME") -> str:
        """The name of a function given as its whole text, with `placeholder` for its name.

        The text may hold parts of the function's own, `placeholder_1`, ...; the word in the name
        keeps them apart from everything else that is called after the same operator.
        """
        if text not in self._function_names:
            name = self._function_names[text] = self.name(f"{base}_kernel")
            self.functions[name] = text.replace(placeholder, name)
        return self._function_names[text]


@dataclass
class Op:
    """One operator, as its emitter sees it.

    Attributes:
        unit: where functions and constants go.
        node: the prepared operator.
        statements: what an invocation does.
        is_view: the output may lie where the input is, and there is nothing to do then.
    """

    unit: Unit
    node: PreparedNode
    statements: list[Statement] = field(default_factory=list)
    is_view: bool = False

    @property
    def data(self) -> Any:
        """What the operator's `prepare` returned."""
        return self.node.data

    @property
    def base(self) -> str:
        """How functions and constants of the operator are named."""
        return c_text.identifier(module_name(self.node.name))

    def input(self, index: int) -> Operand | None:
        """Input `index`, None where it is absent."""
        indices = self.node.operator.inputs
        if index >= len(indices) or indices[index] < 0:
            return None
        return self._operand(indices[index], f"{self.base}_{index}")

    def inputs(self, count: int) -> list[Operand]:
        """The first `count` inputs, which must be there."""
        found = [self.input(index) for index in range(count)]
        if None in found:
            self.refuse(f"needs {count} inputs")
        return found

    def output(self, index: int = 0) -> Operand:
        """Output `index`."""
        return self._operand(self.node.operator.outputs[index], "")

    def tensor(self, subgraph: int, index: int) -> Operand:
        """A tensor of another subgraph, for operators that run it."""
        return self._operand(index, f"{self.base}_value", subgraph)

    def _operand(self, index: int, base: str, subgraph: int | None = None) -> Operand:
        subgraph = self.node.subgraph if subgraph is None else subgraph
        tensor = self.unit.program.model.subgraphs[subgraph].tensors[index]
        if tensor.dtype not in c_text.TYPES:
            self.refuse(f"has a tensor of type {tensor.dtype}")
        if tensor.is_constant and not tensor.is_variable:
            return Operand(tensor, None, base)
        return Operand(tensor, TensorPlace(subgraph, index))

    def scratch(self, nbytes: int) -> Place:
        """Memory for this operator alone, while it runs; aligned for every type."""
        number = sum(
            1
            for known in self.unit.scratch
            if (known.subgraph, known.operator) == (self.node.subgraph, self.node.index)
        )
        found = ScratchPlace(self.node.subgraph, self.node.index, number)
        self.unit.scratch[found] = nbytes
        return found

    def state(self, what: str, nbytes: int, reset: bytes | None, alignment: int = 4) -> Place:
        """Memory of this node that lives through all invocations."""
        found = StatePlace((self.node.subgraph, self.node.index, what))
        self.unit.states[found] = State(nbytes, alignment, reset)
        return found

    def constant(self, what: str, values: np.ndarray) -> str:
        """The name of a constant array."""
        return self.unit.constant(f"{self.base}_{what}", values)

    def weights(self, packed: Mapping[str, np.ndarray]) -> str:
        """The name of the arrays of a generated kernel."""
        return self.unit.weights(self.base, packed)

    def kernel(
        self,
        parameters: Sequence[tuple[str, str, Operand | Place | str]],
        body: str,
        *,
        about: str = "",
    ) -> None:
        """A function of the operator, and its call.

        Args:
            parameters: type, name and argument of each.
            body: the function's statements.
            about: a comment.
        """
        declared = [f"{c_type}{name}" for c_type, name, _ in parameters]
        name = self.unit.function(self.base, declared, body, about)
        self.call(name, [argument for _, _, argument in parameters])

    def call(self, function: str, arguments: Sequence[Operand | Place | str]) -> None:
        """A call of a function by name."""
        holes = ", ".join("{}" for _ in arguments)
        self.statements.append(self.statement(f"{function}({holes});", *arguments))

    def statement(self, text: str, *arguments: Operand | Place | str) -> Statement:
        """C text with `{}` for each argument; other braces are doubled."""
        words, places = [], []
        for argument in arguments:
            where = argument.where if isinstance(argument, Operand) else argument
            if where is None:
                where = self.unit.constant(argument.base, argument.tensor.array())
            if isinstance(where, str):
                words.append(where.replace("{", "{{").replace("}", "}}"))
            else:
                words.append(f"{{{len(places)}}}")
                places.append(where)
        parts = re.split(r"(?<!\{)\{\}(?!\})", text)
        pieces = [part + word for part, word in zip(parts, [*words, ""], strict=True)]
        return Statement("".join(pieces), tuple(places))

    def copy(self, source: Operand | Place, target: Operand | Place, nbytes: int) -> None:
        """Bytes from one place to another, which do not overlap."""
        self.call("copied", [target, source, str(nbytes)])

    def refuse(self, what: str) -> NoReturn:
        """The operator cannot be emitted.

        Raises:
            UnsupportedError: always.
        """
        where = place(self.node.subgraph, self.node.index, self.node.name)
        raise UnsupportedError(
            f"{where}: cannot be emitted as C: {what}",
            hint="run the model with TFLM, or ask `refmicro lint` what to write instead",
            problems=(f"{where}: cannot be emitted as C: {what}",),
        )
