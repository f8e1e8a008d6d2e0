"""`Model` to `.tflite` bytes, deterministic: the same model gives the same bytes everywhere.

Equal constants share one buffer, tensors without data use the empty buffer 0, and equal operator
codes are stored once, so that a written file is never larger than it needs to be.
"""

from __future__ import annotations

from typing import Any

import flatbuffers

from refmicro.errors import UnsupportedError
from refmicro.model import _schema
from refmicro.model.graph import Model, Operator, OperatorCode, Signature, Subgraph
from refmicro.types import Quantization, Tensor

_BUFFER_ALIGNMENT_BYTES = 16
"""TFLite aligns constant data to 16 bytes, so that kernels may load it in wide words."""


def write_model(model: Model) -> bytes:
    """The bytes of a `.tflite` file that holds `model`.

    Raises:
        UnsupportedError: if an operator has options that the schema package cannot write.
    """
    return _Writer(model).file()


class _Writer:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.builder = flatbuffers.Builder(1 << 16)
        self.buffers: dict[bytes, int] = {b"": 0}
        self.codes: dict[OperatorCode, int] = {}

    def file(self) -> bytes:
        model, build = self.model, self.builder
        subgraphs = self.offsets("Model", "Subgraphs", [self.subgraph(g) for g in model.subgraphs])
        metadata = self.offsets("Model", "Metadata", [self.metadata(*m) for m in model.metadata])
        signatures = self.offsets(
            "Model", "SignatureDefs", [self.signature(s) for s in model.signatures]
        )
        codes = self.offsets("Model", "OperatorCodes", [self.code(c) for c in self.codes])
        buffers = self.offsets("Model", "Buffers", [self.buffer(data) for data in self.buffers])
        fields = {
            "Version": model.version,
            "OperatorCodes": codes,
            "Subgraphs": subgraphs,
            "Description": build.CreateString(model.description),
            "Buffers": buffers,
            "Metadata": metadata if model.metadata else None,
            "SignatureDefs": signatures if model.signatures else None,
        }
        build.Finish(self.table("Model", fields), file_identifier=b"TFL3")
        return bytes(build.Output())

    def table(self, name: str, fields: dict[str, Any]) -> int:
        """Write one table; None leaves a field out."""
        module = _schema.module(name)
        getattr(module, f"{name}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(module, f"{name}Add{field}")(self.builder, value)
        return getattr(module, f"{name}End")(self.builder)

    def offsets(self, table: str, field: str, items: list[int]) -> int:
        getattr(_schema.module(table), f"{table}Start{field}Vector")(self.builder, len(items))
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return self.builder.EndVector()

    def numbers(self, table: str, field: str, values: tuple, kind: str) -> int:
        """A vector of scalars; `kind` is the builder's name of the type, such as `Int32`."""
        getattr(_schema.module(table), f"{table}Start{field}Vector")(self.builder, len(values))
        prepend = getattr(self.builder, f"Prepend{kind}")
        for value in reversed(values):
            prepend(value)
        return self.builder.EndVector()

    def buffer(self, data: bytes) -> int:
        vector = None
        if data:
            self.builder.StartVector(1, len(data), _BUFFER_ALIGNMENT_BYTES)
            self.builder.head -= len(data)
            head = self.builder.Head()
            self.builder.Bytes[head : head + len(data)] = data
            vector = self.builder.EndVector()
        return self.table("Buffer", {"Data": vector})

    def code(self, code: OperatorCode) -> int:
        number = _schema.enum_codes("BuiltinOperator")[code.builtin]
        custom = self.builder.CreateString(code.custom) if code.custom else None
        fields = {
            # Readers take the larger of the two fields; the old one is a signed byte.
            "DeprecatedBuiltinCode": min(number, 127),
            "CustomCode": custom,
            "Version": code.version,
            "BuiltinCode": number,
        }
        return self.table("OperatorCode", fields)

    def subgraph(self, graph: Subgraph) -> int:
        tensors = self.offsets("SubGraph", "Tensors", [self.tensor(t) for t in graph.tensors])
        operators = self.offsets(
            "SubGraph", "Operators", [self.operator(o) for o in graph.operators]
        )
        fields = {
            "Tensors": tensors,
            "Inputs": self.numbers("SubGraph", "Inputs", graph.inputs, "Int32"),
            "Outputs": self.numbers("SubGraph", "Outputs", graph.outputs, "Int32"),
            "Operators": operators,
            "Name": self.builder.CreateString(graph.name) if graph.name else None,
        }
        return self.table("SubGraph", fields)

    def tensor(self, tensor: Tensor) -> int:
        data = b"" if tensor.data is None else bytes(tensor.data)
        signature = tensor.shape_signature
        fields = {
            "Shape": self.numbers("Tensor", "Shape", tensor.shape, "Int32")
            if tensor.has_shape
            else None,
            "Type": tensor.dtype.value,
            "Buffer": self.buffers.setdefault(data, len(self.buffers)),
            "Name": self.builder.CreateString(tensor.name),
            "Quantization": self.quantization(tensor.quantization),
            "IsVariable": tensor.is_variable,
            "ShapeSignature": self.numbers("Tensor", "ShapeSignature", signature, "Int32")
            if signature
            else None,
            "HasRank": True,
        }
        return self.table("Tensor", fields)

    def quantization(self, quantization: Quantization) -> int | None:
        if quantization == Quantization():
            return None
        kinds = {
            "Min": (quantization.min, "Float32"),
            "Max": (quantization.max, "Float32"),
            "Scale": (quantization.scale, "Float32"),
            "ZeroPoint": (quantization.zero_point, "Int64"),
        }
        table = "QuantizationParameters"
        fields: dict[str, Any] = {
            field: self.numbers(table, field, values, kind) if values else None
            for field, (values, kind) in kinds.items()
        }
        fields["QuantizedDimension"] = quantization.quantized_dimension
        return self.table(table, fields)

    def operator(self, op: Operator) -> int:
        table = "Operator"
        fields: dict[str, Any] = {
            "OpcodeIndex": self.codes.setdefault(op.code, len(self.codes)),
            "Inputs": self.numbers(table, "Inputs", op.inputs, "Int32"),
            "Outputs": self.numbers(table, "Outputs", op.outputs, "Int32"),
        }
        if op.options_type:
            union = _options_union(op.options_type)
            fields[union] = self.options(op)
            fields[f"{union}Type"] = _schema.enum_codes(union)[op.options_type]
        if op.custom_options:
            fields["CustomOptions"] = self.builder.CreateByteVector(op.custom_options)
        if op.intermediates:
            fields["Intermediates"] = self.numbers(
                table, "Intermediates", op.intermediates, "Int32"
            )
        return self.table(table, fields)

    def options(self, op: Operator) -> int:
        name, fields = op.options_type, {}
        for snake, accessor, is_vector in _schema.table_fields(name):
            value = op.options.get(snake)
            if is_vector:
                value = self.option_vector(name, accessor, value) if value else None
            elif isinstance(value, str):
                value = self.builder.CreateString(value)
            elif value is not None and not isinstance(value, (int, float)):
                raise UnsupportedError(f"options {name}.{snake} of {op.name} cannot be written")
            fields[accessor] = value
        return self.table(name, fields)

    def option_vector(self, table: str, field: str, values: tuple) -> int:
        # The generated starter knows the element's width; all option vectors hold integers.
        getattr(_schema.module(table), f"{table}Start{field}Vector")(self.builder, len(values))
        kind = "Int64" if table.startswith("Stablehlo") else "Int32"
        if (table, field) == ("BucketizeOptions", "Boundaries"):
            kind = "Float32"
        for value in reversed(values):
            getattr(self.builder, f"Prepend{kind}")(value)
        return self.builder.EndVector()

    def metadata(self, name: str, value: bytes) -> int:
        buffer = self.buffers.setdefault(bytes(value), len(self.buffers))
        return self.table("Metadata", {"Name": self.builder.CreateString(name), "Buffer": buffer})

    def signature(self, signature: Signature) -> int:
        def maps(field: str, pairs: tuple[tuple[str, int], ...]) -> int:
            items = [
                self.table(
                    "TensorMap", {"Name": self.builder.CreateString(name), "TensorIndex": index}
                )
                for name, index in pairs
            ]
            return self.offsets("SignatureDef", field, items)

        fields = {
            "Inputs": maps("Inputs", signature.inputs),
            "Outputs": maps("Outputs", signature.outputs),
            "SignatureKey": self.builder.CreateString(signature.key),
            "SubgraphIndex": signature.subgraph,
        }
        return self.table("SignatureDef", fields)


def _options_union(name: str) -> str:
    return "BuiltinOptions" if name in _schema.enum_codes("BuiltinOptions") else "BuiltinOptions2"
