"""Facts about the schema, taken from the `tflite` package: enums, tables, fields.

The package is generated code, one module a table, whose accessors decode a flatbuffer. What they
know (slot, type and default of each field) is learnt once a table by calling each accessor on a
probe in place of a file, so that no table of the schema is listed here by hand.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from flatbuffers import number_types

_PACKAGE = f"{__package__}._tflite"

OPTIONS_UNIONS = {"builtin_options": "BuiltinOptions", "builtin_options2": "BuiltinOptions2"}
"""Fields of `Operator` that hold an options table, and the enum that says which table it is."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        name: in snake case, `fused_activation_function`.
        accessor: as generated, `FusedActivationFunction`.
        slot: place in the vtable, the first field is 0.
        kind: `scalar`, `text`, `table`, `union`, or the vectors `numbers`, `texts`, `tables`.
        flags: number type of `flatbuffers`: of a scalar, of one element of `numbers`, of an offset
            otherwise.
        number: the same as a little-endian format.
        default: what a table without this field means; None for anything but a scalar.
    """

    name: str
    accessor: str
    slot: int
    kind: str
    flags: Any
    number: struct.Struct
    default: Any

    @property
    def is_vector(self) -> bool:
        """Whether it holds any number of elements."""
        return self.kind in ("numbers", "texts", "tables")


class _Found(Exception):
    """Carries a field's kind and number out of an accessor."""


class _TableProbe:
    """Stands in for `flatbuffers.table.Table` in an accessor and tells what it reads."""

    Pos = 0
    Bytes = b""
    plural = ""

    def Offset(self, vtable_offset: int) -> int:
        return 4

    def Vector(self, offset: int) -> int:
        self.plural = "s"
        return 0

    def Get(self, flags: Any, offset: int) -> None:
        kind = "numbers" if self.plural else "scalar"
        raise _Found(kind, flags)

    def String(self, offset: int) -> None:
        raise _Found("text" + self.plural, _OFFSET)

    def Indirect(self, offset: int) -> None:
        raise _Found("table" + self.plural, _OFFSET)

    def Union(self, table: Any, offset: int) -> None:
        raise _Found("union", _OFFSET)


class _BuilderProbe:
    """Stands in for `flatbuffers.Builder` in an adder and tells slot and default of its field."""

    def __getattr__(self, method: str) -> Any:
        def prepend(slot: int, value: Any, default: Any) -> None:
            raise _Found(slot, default)

        return prepend


_OFFSET = number_types.UOffsetTFlags


@functools.cache
def _package() -> str:
    """The schema package under a name of our own, without running its `__init__`.

    `import tflite` imports all of its two hundred modules, which takes longer than reading a model;
    a model needs a dozen of them.
    """
    spec = importlib.machinery.PathFinder.find_spec("tflite")
    if spec is None:
        # Not a folder on the path: as a frozen program, or not there, which this then says.
        return importlib.import_module("tflite").__name__
    package = ModuleType(_PACKAGE, "Modules of the `tflite` package, each imported alone.")
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[_PACKAGE] = package
    return _PACKAGE


def module(name: str) -> ModuleType:
    """The generated module of one table or enum of the schema."""
    return importlib.import_module(f"{_package()}.{name}")


@functools.cache
def enum_names(name: str) -> MappingProxyType[int, str]:
    """Code to name of one enum of the schema, such as `BuiltinOperator`."""
    items = vars(getattr(module(name), name)).items()
    return MappingProxyType({code: key for key, code in items if isinstance(code, int)})


@functools.cache
def enum_codes(name: str) -> MappingProxyType[str, int]:
    """Name to code of one enum of the schema."""
    return MappingProxyType({key: code for code, key in enum_names(name).items()})


def snake_case(name: str) -> str:
    """`FusedActivationFunction` to `fused_activation_function`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@functools.cache
def fields(name: str) -> MappingProxyType[str, Field]:
    """The fields of table `name` by their snake names, in the order of the schema."""
    generated = module(name)
    prefix = f"{name}Add"
    accessors = [key[len(prefix) :] for key in vars(generated) if key.startswith(prefix)]
    found = (_field(generated, name, accessor) for accessor in accessors)
    return MappingProxyType({field.name: field for field in found})


def _field(generated: ModuleType, table: str, accessor: str) -> Field:
    is_vector = hasattr(generated, f"{table}Start{accessor}Vector")
    holder = getattr(generated, table)()
    holder._tab = _TableProbe()
    kind, flags = _found(getattr(holder, accessor), *[0] * is_vector)
    slot, default = _found(getattr(generated, f"{table}Add{accessor}"), _BuilderProbe(), 0)
    if kind != "scalar":
        default = None
    elif flags is number_types.BoolFlags:
        default = bool(default)
    number = struct.Struct("<" + flags.packer_type.format.lstrip("<"))
    return Field(snake_case(accessor), accessor, slot, kind, flags, number, default)


def _found(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """What `function` asked a probe for."""
    try:
        function(*arguments)
    except _Found as found:
        return found.args
    raise AssertionError(f"{function} asks for nothing")
