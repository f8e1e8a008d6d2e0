"""A `.tflite` model as an immutable value: subgraphs, operators, tensors, metadata.

A model is equal to another by content. It holds what TFLM reads and what a writer needs to give the
same model back; buffers are not a thing of their own, a constant tensor carries its bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from refmicro.types import Tensor

OFFLINE_PLAN_METADATA = "OfflineMemoryAllocation"
"""Metadata name of an offline plan (`tensorflow/lite/micro/docs/memory_management.md`)."""

COMPRESSION_METADATA = "COMPRESSION_METADATA"
"""Metadata name of compressed constants (`tensorflow/lite/micro/compression.h`)."""

_SHOWN_CHARACTERS = 60


def shown(name: str) -> str:
    """A name out of a file, fit for a message: printable and not longer than a line."""
    if len(name) <= _SHOWN_CHARACTERS and name.isprintable():
        return name
    cut = name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 3] + "..."
    return "".join(c if c.isprintable() else "\ufffd" for c in cut)


@dataclass(frozen=True)
class OperatorCode:
    """What an operator is: a builtin name such as `CONV_2D`, or `CUSTOM` with its own code."""

    builtin: str
    custom: str = ""
    version: int = 1

    @property
    def name(self) -> str:
        """The name users know: the builtin's, or the custom code."""
        return self.custom if self.builtin == "CUSTOM" else self.builtin


@dataclass(frozen=True)
class Operator:
    """One operator; tensors are indices into its subgraph, -1 for an absent optional input.

    `options` holds the fields of the builtin options table in snake case; empty where the file has
    none. `options_type` is that table's name in the schema, empty where the file has none, or one
    that TFLM's parser of this operator does not see (`_parsers.py`).
    """

    code: OperatorCode
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    options_type: str = ""
    custom_options: bytes = b""
    intermediates: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The operator's name, see `OperatorCode.name`."""
        return self.code.name


@dataclass(frozen=True)
class Subgraph:
    """Tensors, operators in execution order, and which tensors go in and come out."""

    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]
    name: str = ""


@dataclass(frozen=True)
class Signature:
    """A signature definition: names of inputs and outputs; TFLM ignores it."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Model:
    """A whole model. `source` is the file's bytes where it was read from one, else None."""

    subgraphs: tuple[Subgraph, ...]
    metadata: tuple[tuple[str, bytes], ...] = ()
    description: str = ""
    version: int = 3
    signatures: tuple[Signature, ...] = ()
    source: bytes | None = field(default=None, compare=False, repr=False)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the source file; of nothing where the model was built in memory."""
        return hashlib.sha256(self.source or b"").hexdigest()

    @property
    def operator_count(self) -> int:
        """Operators of all subgraphs."""
        return sum(len(subgraph.operators) for subgraph in self.subgraphs)

    def metadata_value(self, name: str) -> bytes | None:
        """The bytes of the last metadata entry of that name, None where there is none."""
        return next((value for key, value in reversed(self.metadata) if key == name), None)

    def with_metadata(self, name: str, value: bytes | None) -> Model:
        """A copy in which metadata `name` is `value`, or is gone where `value` is None."""
        kept = tuple(item for item in self.metadata if item[0] != name)
        added = () if value is None else ((name, value),)
        return dataclasses.replace(self, metadata=kept + added, source=None)
