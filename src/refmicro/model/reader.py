"""`.tflite` bytes to `Model`; whatever is wrong with a file is named with its place.

A file is checked as it is read: offsets by `_flatbuffer`, which also bounds the work, and here what
the schema cannot say, that indices point to something and constants hold as many bytes as their
shapes need. What a model means is checked where it is prepared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from refmicro._collector import paused
from refmicro.errors import InvalidModelError, UnsupportedError, UsageError
from refmicro.model import _schema
from refmicro.model._flatbuffer import DamagedError, File, Table
from refmicro.model._parsers import is_foreign
from refmicro.model.graph import (
    COMPRESSION_METADATA,
    Model,
    Operator,
    OperatorCode,
    Signature,
    Subgraph,
    shown,
)
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor

MAX_FILE_BYTES = 2**31 - 1
"""Offsets of a flatbuffer are at most this large."""

MAX_TENSOR_BYTES = 2**31 - 1
"""TFLM counts a tensor's elements in an int; more cannot be planned."""

MAX_RANK = 16
"""Dimensions of a tensor; TFLM's kernels handle at most 6, NumPy's arrays at most 32."""

_OPERATOR_CHARGE = 64
"""Charge for an operator, see `_flatbuffer`: 4 bytes in its vector, 12 in its table, and 8 in each
of its two vectors is the least a file spends on one."""

_DTYPES = {dtype.value: dtype for dtype in DType}

_T = TypeVar("_T")


def read_model(path: str | os.PathLike[str]) -> Model:
    """The model in a file.

    Raises:
        UsageError: if the file cannot be read.
        InvalidModelError: if it is not a valid model.
        UnsupportedError: if it uses a part of the file format that TFLM does not read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            # What is no model is not read to its end, which a device may not have.
            data = head + file.read(MAX_FILE_BYTES) if head[4:8] == b"TFL3" else head
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the model file: {path}: {reason}",
            hint="give the path of a .tflite file",
        ) from error
    return parse_model(data)


@paused()
def parse_model(data: bytes) -> Model:
    """The model in `data`.

    Raises:
        InvalidModelError: with the place and what was found there.
        UnsupportedError: if it uses a part of the file format that TFLM does not read.
    """
    data = bytes(data)
    if len(data) < 16 or data[4:8] != b"TFL3":
        found = f"identifier {data[4:8]!r}" if len(data) >= 8 else f"{len(data)} bytes"
        raise InvalidModelError(
            f"not a .tflite file, the identifier TFL3 is missing: {found}",
            hint="convert the model with the TensorFlow Lite converter first",
        )
    if len(data) > MAX_FILE_BYTES:
        raise InvalidModelError(f"a .tflite file must stay below 2^31 bytes: {len(data)}")
    return _Reader(data).model()


class _Reader:
    """Reads one file; `place` says where, for the message of whatever goes wrong."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.file = File(data)
        self.place = "file header"
        self.buffers: list[Table] = []
        self.codes: list[OperatorCode] = []
        self.constants: dict[int, memoryview | None] = {}
        self.known: dict[tuple[str, int], tuple[Any, int]] = {}

    def fail(self, message: str) -> InvalidModelError:
        return InvalidModelError(
            f"{self.place}: {message}", hint="the file is damaged or was cut; convert it again"
        )

    def unsupported(self, message: str, hint: str) -> UnsupportedError:
        return UnsupportedError(f"{self.place}: {message}", hint=hint)

    def model(self) -> Model:
        try:
            return self._model()
        except DamagedError as error:
            raise self.fail(str(error)) from error
        except MemoryError:
            raise UsageError(
                f"not enough memory to read a model of {len(self.data)} bytes",
                hint="the file may be made to exhaust memory",
            ) from None

    def _model(self) -> Model:
        root = self.file.root("Model")
        self.place = "buffers"
        self.buffers = list(root.tables("buffers", "Buffer"))
        self.place = "metadata"
        metadata = tuple(self.metadata(item) for item in root.tables("metadata", "Metadata"))
        self.place = "operator codes"
        for index, code in enumerate(root.tables("operator_codes", "OperatorCode")):
            self.codes.append(self.operator_code(index, code))
        self.place = "subgraphs"
        subgraphs = []
        for index, graph in enumerate(root.tables("subgraphs", "SubGraph")):
            subgraphs.append(self.subgraph(index, graph))
        if not subgraphs:
            raise self.fail("a model needs at least one subgraph: found none")
        self.place = "signatures"
        signatures = tuple(
            self.signature(item) for item in root.tables("signature_defs", "SignatureDef")
        )
        self.place = "file header"
        description = root["description"] or ""
        return Model(
            tuple(subgraphs), metadata, description, root["version"], signatures, self.data
        )

    def once(self, decode: Callable[[Table], _T], table: Table) -> _T:
        """What `decode` makes of a table, decoded once however often it is shared.

        Each use is paid for, because what reads the model walks through all of them.
        """
        key = table.name, table.position
        hit = self.known.get(key)
        if hit is not None:
            self.file.charge(hit[1])
            return hit[0]
        before = self.file.budget
        value = decode(table)
        self.known[key] = value, before - self.file.budget
        return value

    def operator_code(self, index: int, code: Table) -> OperatorCode:
        self.place = f"operator code {index}"
        number = max(code["deprecated_builtin_code"], code["builtin_code"])
        names = _schema.enum_names("BuiltinOperator")
        name = names.get(number)
        if name is None:
            raise self.fail(f"builtin operator codes end at {max(names)}: {number}")
        custom = code["custom_code"] or ""
        if name == "CUSTOM" and not custom:
            raise self.fail("a CUSTOM operator needs a custom code: found none")
        return OperatorCode(name, custom if name == "CUSTOM" else "", code["version"])

    def subgraph(self, index: int, graph: Table) -> Subgraph:
        self.place = f"subgraph {index}"
        tensors = []
        for number, table in enumerate(graph.tables("tensors", "Tensor")):
            self.place = f"subgraph {index}, tensor {number}"
            tensors.append(self.once(self.tensor, table))
        self.place = f"subgraph {index}"
        operators = []
        for number, table in enumerate(graph.tables("operators", "Operator", _OPERATOR_CHARGE)):
            self.place = f"subgraph {index}, operator {number}"
            operators.append(self.operator(table, len(tensors)))
        self.place = f"subgraph {index}"
        return Subgraph(
            tuple(tensors),
            self.indices(graph, "inputs", len(tensors), lowest=0),
            self.indices(graph, "outputs", len(tensors), lowest=0),
            tuple(operators),
            graph["name"] or "",
        )

    def indices(self, table: Table, key: str, count: int, *, lowest: int) -> tuple[int, ...]:
        """A vector of tensor indices; `lowest` is -1 where a tensor may be absent."""
        values = table[key] or ()
        if values and not (lowest <= min(values) and max(values) < count):
            wrong = next(value for value in values if not lowest <= value < count)
            raise self.fail(f"{key} must name some of {count} tensors: index {wrong}")
        return values

    def tensor(self, table: Table) -> Tensor:
        dtype = _DTYPES.get(table["type"])
        if dtype is None:
            raise self.fail(f"tensor type is not in the schema: {table['type']}")
        if table.has("sparsity"):
            raise self.unsupported(
                "TFLM does not read sparse tensors: found sparsity parameters",
                "convert the model without sparsity",
            )
        shape = table["shape"]
        quantization = table.table("quantization", "QuantizationParameters")
        return Tensor(
            name=table["name"] or "",
            dtype=dtype,
            shape=shape or (),
            quantization=NO_QUANTIZATION
            if quantization is None
            else self.once(self.quantization, quantization),
            data=self.constant(table["buffer"], self.checked_size(dtype, shape or ())),
            is_variable=bool(table["is_variable"]),
            shape_signature=table["shape_signature"] or (),
            has_shape=shape is not None,
        )

    def checked_size(self, dtype: DType, shape: tuple[int, ...]) -> int:
        """Bytes that a constant of this type and shape takes in the file."""
        if len(shape) > MAX_RANK:
            raise self.unsupported(
                f"a tensor may have at most {MAX_RANK} dimensions here: {len(shape)}",
                "no kernel of TFLM handles more than 6",
            )
        elements, total = 1, dtype.itemsize_bytes or 1
        for size in shape:
            if size < 0:
                raise self.fail(f"dimensions must not be negative: {list(shape)}")
            elements *= size
            # A dimension of 0 does not excuse the others: TFLM's product overflows before.
            total *= size or 1
        if total > MAX_TENSOR_BYTES:
            raise self.fail(f"a tensor must stay below 2^31 bytes: {dtype}{list(shape)}")
        if dtype is DType.INT4:
            return (elements + 1) // 2
        return elements * (dtype.itemsize_bytes or 0)

    def constant(self, buffer: int, need_bytes: int) -> memoryview | None:
        """The bytes of a buffer, None where it is empty: TFLM then plans memory for the tensor."""
        data = self.buffer_bytes(buffer)
        if data is not None and len(data) < need_bytes:
            raise self.fail(f"buffer {buffer} must hold {need_bytes} bytes: found {len(data)}")
        return data

    def buffer_bytes(self, index: int) -> memoryview | None:
        if index >= len(self.buffers):
            raise self.fail(f"buffer must be one of {len(self.buffers)} buffers: index {index}")
        if index in self.constants:
            return self.constants[index]
        buffer = self.buffers[index]
        if buffer["offset"] > 1 or buffer["size"] > 1:
            raise self.unsupported(
                f"TFLM reads no data outside the flatbuffer: buffer {index} is at "
                f"{buffer['offset']}, {buffer['size']} bytes",
                "convert the model so that its buffers lie inside, which works below 2 GB",
            )
        start, length = buffer.span("data")
        self.file.charge(length)
        data = memoryview(self.data)[start : start + length] if length else None
        self.constants[index] = data
        return data

    def quantization(self, table: Table) -> Quantization:
        scale, zero_point = table["scale"] or (), table["zero_point"] or ()
        if scale and zero_point and len(zero_point) not in (1, len(scale)):
            raise self.fail(f"zero points must be 1 or {len(scale)}: found {len(zero_point)}")
        for number in zero_point:
            if not -(2**31) <= number < 2**31:
                raise self.fail(f"a zero point must fit 32 bits: {number}")
        return Quantization(
            scale,
            zero_point,
            table["quantized_dimension"],
            table["min"] or (),
            table["max"] or (),
        )

    def operator(self, table: Table, tensors: int) -> Operator:
        number = table["opcode_index"]
        if number >= len(self.codes):
            raise self.fail(f"operator code must be one of {len(self.codes)}: index {number}")
        code = self.codes[number]
        self.place += f" ({shown(code.name)})"
        options_type, options = self.options(table, code.builtin)
        return Operator(
            code,
            self.indices(table, "inputs", tensors, lowest=-1),
            self.indices(table, "outputs", tensors, lowest=0),
            options,
            options_type,
            table["custom_options"] or b"",
            self.indices(table, "intermediates", tensors, lowest=-1),
        )

    def options(self, op: Table, operator: str) -> tuple[str, dict[str, Any]]:
        """Name and fields of the options table in either of the schema's two unions.

        A table that TFLM's parser of this operator would not see counts as none, whatever it holds.
        """
        for union, enum in _schema.OPTIONS_UNIONS.items():
            number = op[f"{union}_type"]
            if not number or not op.has(union):
                continue
            name = _schema.enum_names(enum).get(number)
            if name is None:
                raise self.fail(f"options table is not in the schema: {number}")
            if is_foreign(operator, name):
                continue
            return name, self.once(self.option_fields, op.table(union, name))
        return "", {}

    @staticmethod
    def option_fields(table: Table) -> dict[str, Any]:
        fields = _schema.fields(table.name)
        values = {key: (table[key], field) for key, field in fields.items()}
        return {
            key: () if value is None and field.is_vector else value
            for key, (value, field) in values.items()
        }

    def metadata(self, entry: Table) -> tuple[str, bytes]:
        name = entry["name"] or ""
        if name == COMPRESSION_METADATA:
            raise self.unsupported(
                f"compressed constants are not supported: found {name}",
                "use the model as it was before it was compressed",
            )
        if entry["buffer"] >= len(self.buffers):
            raise self.fail(
                f"'{shown(name)}' must point to one of {len(self.buffers)} buffers: "
                f"index {entry['buffer']}"
            )
        return name, bytes(self.buffer_bytes(entry["buffer"]) or b"")

    def signature(self, entry: Table) -> Signature:
        def pairs(key: str) -> tuple[tuple[str, int], ...]:
            items = entry.tables(key, "TensorMap")
            return tuple((item["name"] or "", item["tensor_index"]) for item in items)

        return Signature(
            entry["signature_key"] or "", entry["subgraph_index"], pairs("inputs"), pairs("outputs")
        )
