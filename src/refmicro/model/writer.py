"""`Model` to `.tflite` bytes, deterministic: the same model gives the same bytes everywhere.

Equal constants share one buffer, tensors without data use the empty buffer 0, and equal operator
codes are stored once, so that a written file is never larger than it needs to be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import flatbuffers
from flatbuffers.builder import BuilderSizeError

from refmicro.errors import UnsupportedError
from refmicro.model import _schema
from refmicro.model.graph import Model, Operator, OperatorCode, Signature, Subgraph, shown
from refmicro.types import NO_QUANTIZATION, Quantization, Tensor

_BUFFER_ALIGNMENT_BYTES = 16
"""TFLite aligns constant data to 16 bytes, so that kernels may load it in wide words."""


def write_model(model: Model) -> bytes:
    """The bytes of a `.tflite` file that holds `model`.

    Raises:
        UnsupportedError: if an operator has options that the schema does not know, a number does
            not fit its field, or the file would grow beyond 2 GB.
    """
    writer = _Writer(model)
    try:
        return writer.file()
    except BuilderSizeError:
        raise UnsupportedError("a .tflite file must stay below 2^31 bytes: it would grow") from None


class _Writer:
    """Writes one model; `place` says where, for the message of whatever does not fit the format."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.builder = flatbuffers.Builder(1 << 16)
        self.place = "model"
        self.buffers: dict[bytes, int] = {b"": 0}
        self.buffer_of: dict[int, int] = {}
        self.codes: dict[OperatorCode, int] = {}

    def file(self) -> bytes:
        model = self.model
        subgraphs = [self.subgraph(i, graph) for i, graph in enumerate(model.subgraphs)]
        self.place = "model"
        metadata = [self.metadata(*item) for item in model.metadata]
        signatures = [self.signature(item) for item in model.signatures]
        fields = {
            "version": model.version,
            "operator_codes": [self.code(code) for code in self.codes],
            "subgraphs": subgraphs,
            "description": model.description,
            "buffers": [self.buffer(data) for data in self.buffers],
            "metadata": metadata or None,
            "signature_defs": signatures or None,
        }
        self.builder.Finish(self.table("Model", fields), file_identifier=b"TFL3")
        return bytes(self.builder.Output())

    def table(self, name: str, values: dict[str, Any]) -> int:
        """Write one table; None leaves a field out.

        Offsets of tables and vectors of them are given, whatever else a field holds is written.
        """
        known = _schema.fields(name)
        written = [
            (known[key], self.content(name, known[key], value))
            for key, value in values.items()
            if value is not None
        ]
        # Wide fields first leave no gaps between them.
        written.sort(key=lambda item: -item[0].number.size)
        self.builder.StartObject(1 + max((field.slot for field in known.values()), default=-1))
        for field, value in written:
            if field.kind == "scalar":
                self.scalar(name, field, value)
            else:
                self.builder.PrependUOffsetTRelativeSlot(field.slot, value, 0)
        return self.builder.EndObject()

    def content(self, table: str, field: _schema.Field, value: Any) -> Any:
        """What to store in a field: a scalar itself, of anything else where it was written."""
        if field.kind in ("scalar", "table", "union"):
            return value
        if field.kind == "text":
            if not isinstance(value, str):
                raise self.misfit(table, field, value)
            return self.builder.CreateString(value)
        if field.kind == "tables":
            return self.offsets(value)
        if field.kind == "numbers":
            return self.numbers(table, field, value)
        raise self.misfit(table, field, value)

    def scalar(self, table: str, field: _schema.Field, value: Any) -> None:
        number = field.number
        if value == field.default:
            return
        if number.format == "<?" and value not in (0, 1):
            raise self.misfit(table, field, value)
        try:
            raw = number.pack(value)
        except (struct.error, TypeError, OverflowError) as error:
            raise self.misfit(table, field, value) from error
        self.builder.Prep(number.size, 0)
        self.builder.head -= number.size
        self.builder.Bytes[self.builder.head : self.builder.head + number.size] = raw
        self.builder.Slot(field.slot)

    def numbers(self, table: str, field: _schema.Field, values: Sequence[Any]) -> int:
        """A vector of numbers, or of bytes, in one piece."""
        width = field.number.size
        try:
            raw = struct.pack(f"<{len(values)}{field.number.format[1:]}", *values)
        except (struct.error, TypeError, OverflowError) as error:
            raise self.misfit(table, field, values) from error
        return self.raw_vector(raw, width, len(values), width)

    def raw_vector(self, raw: bytes, width: int, length: int, alignment: int) -> int:
        build = self.builder
        build.StartVector(width, length, alignment)
        build.head -= len(raw)
        build.Bytes[build.head : build.head + len(raw)] = raw
        return build.EndVector()

    def offsets(self, items: Sequence[int]) -> int:
        self.builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return self.builder.EndVector()

    def misfit(self, table: str, field: _schema.Field, value: Any) -> UnsupportedError:
        found = repr(value)
        return UnsupportedError(
            f"{self.place}: {table}.{field.name} cannot hold this in a .tflite file: "
            f"{found if len(found) <= 60 else found[:57] + '...'}"
        )

    def buffer(self, data: bytes) -> int:
        # A vector of the schema's own kind would be aligned to single bytes.
        vector = self.raw_vector(data, 1, len(data), _BUFFER_ALIGNMENT_BYTES) if data else 0
        self.builder.StartObject(1)
        self.builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        return self.builder.EndObject()

    def buffer_index(self, data: bytes | memoryview | None) -> int:
        """The buffer with these bytes; tensors without data share the empty buffer 0."""
        if data is None:
            return 0
        known = self.buffer_of.get(id(data))
        if known is None:
            known = self.buffers.setdefault(bytes(data), len(self.buffers))
            self.buffer_of[id(data)] = known
        return known

    def code(self, code: OperatorCode) -> int:
        number = _schema.enum_codes("BuiltinOperator").get(code.builtin)
        if number is None:
            raise UnsupportedError(f"the schema has no operator of this name: {code.builtin}")
        fields = {
            # Readers take the larger of the two fields; the old one is a signed byte.
            "deprecated_builtin_code": min(number, 127),
            "custom_code": code.custom or None,
            "version": code.version,
            "builtin_code": number,
        }
        return self.table("OperatorCode", fields)

    def subgraph(self, index: int, graph: Subgraph) -> int:
        tensors = []
        for number, tensor in enumerate(graph.tensors):
            self.place = f"subgraph {index}, tensor {number}"
            tensors.append(self.tensor(tensor))
        operators = []
        for number, op in enumerate(graph.operators):
            self.place = f"subgraph {index}, operator {number} ({shown(op.name)})"
            operators.append(self.operator(op))
        self.place = f"subgraph {index}"
        fields = {
            "tensors": tensors,
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "operators": operators,
            "name": graph.name or None,
        }
        return self.table("SubGraph", fields)

    def tensor(self, tensor: Tensor) -> int:
        fields = {
            "shape": tensor.shape if tensor.has_shape else None,
            "type": tensor.dtype.value,
            "buffer": self.buffer_index(tensor.data),
            "name": tensor.name or None,
            "quantization": self.quantization(tensor.quantization),
            "is_variable": tensor.is_variable,
            "shape_signature": tensor.shape_signature or None,
            "has_rank": True,
        }
        return self.table("Tensor", fields)

    def quantization(self, quantization: Quantization) -> int | None:
        if quantization == NO_QUANTIZATION:
            return None
        fields = {
            "min": quantization.min or None,
            "max": quantization.max or None,
            "scale": quantization.scale or None,
            "zero_point": quantization.zero_point or None,
            "quantized_dimension": quantization.quantized_dimension,
        }
        return self.table("QuantizationParameters", fields)

    def operator(self, op: Operator) -> int:
        fields: dict[str, Any] = {
            "opcode_index": self.codes.setdefault(op.code, len(self.codes)),
            "inputs": op.inputs,
            "outputs": op.outputs,
            "custom_options": op.custom_options or None,
            "intermediates": op.intermediates or None,
        }
        if op.options_type:
            union, number = self.options_union(op.options_type)
            fields[union] = self.options(op)
            fields[f"{union}_type"] = number
        return self.table("Operator", fields)

    def options_union(self, name: str) -> tuple[str, int]:
        """The field of an operator that holds options of this name, and their code in it."""
        for union, enum in _schema.OPTIONS_UNIONS.items():
            number = _schema.enum_codes(enum).get(name)
            if number is not None:
                return union, number
        raise UnsupportedError(f"{self.place}: the schema has no options of this name: {name}")

    def options(self, op: Operator) -> int:
        known = _schema.fields(op.options_type)
        for key in op.options:
            if key not in known:
                raise UnsupportedError(
                    f"{self.place}: {op.options_type} has no field of this name: {key}"
                )
        values = ((key, field, op.options.get(key)) for key, field in known.items())
        # A missing vector and an empty one mean the same.
        fields = {k: None if field.is_vector and not v else v for k, field, v in values}
        return self.table(op.options_type, fields)

    def metadata(self, name: str, value: bytes) -> int:
        buffer = self.buffers.setdefault(bytes(value), len(self.buffers))
        return self.table("Metadata", {"name": name, "buffer": buffer})

    def signature(self, signature: Signature) -> int:
        def maps(pairs: tuple[tuple[str, int], ...]) -> list[int]:
            return [
                self.table("TensorMap", {"name": name, "tensor_index": index})
                for name, index in pairs
            ]

        fields = {
            "inputs": maps(signature.inputs),
            "outputs": maps(signature.outputs),
            "signature_key": signature.key,
            "subgraph_index": signature.subgraph,
        }
        return self.table("SignatureDef", fields)
