"""Facts about the schema that the `tflite` package holds as classes: names, fields, loaders.

The schema package is generated code without an object interface, so options tables are read and
written by their accessors' names; no table is listed here by hand.
"""

from __future__ import annotations

import functools
import importlib
import re
from types import ModuleType
from typing import Any

_FIXED_METHODS = re.compile(
    r"^(GetRootAs.*|Init|.*BufferHasIdentifier|.*AsNumpy|.*Length|.*IsNone)$"
)


def module(name: str) -> ModuleType:
    """The generated module of one table or enum of the schema."""
    return importlib.import_module(f"tflite.{name}")


@functools.cache
def enum_names(name: str) -> dict[int, str]:
    """Code to name of one enum of the schema, such as `BuiltinOperator`."""
    holder = getattr(module(name), name)
    return {code: key for key, code in vars(holder).items() if isinstance(code, int)}


@functools.cache
def enum_codes(name: str) -> dict[str, int]:
    """Name to code of one enum of the schema."""
    return {key: code for code, key in enum_names(name).items()}


def snake_case(name: str) -> str:
    """`FusedActivationFunction` to `fused_activation_function`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@functools.cache
def table_fields(name: str) -> tuple[tuple[str, str, bool], ...]:
    """(snake name, accessor name, is a vector) of every field of a table, in no special order."""
    holder = getattr(module(name), name)
    methods = [key for key in vars(holder) if key[0].isupper() and callable(vars(holder)[key])]
    fields = [key for key in methods if not _FIXED_METHODS.match(key)]
    return tuple((snake_case(key), key, f"{key}Length" in methods) for key in fields)


@functools.cache
def loader(name: str) -> Any:
    """The class that reads table `name`."""
    return getattr(module(name), name)
