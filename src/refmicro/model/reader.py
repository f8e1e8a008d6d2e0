"""`.tflite` bytes to `Model`; whatever is wrong with a file is named with its place.

Flatbuffers in Python does not verify offsets, so a damaged file shows as an exception of the
decoder, as a length that cannot be true, or as a value out of range. Each of the three becomes one
`InvalidModelError`. Decoding is bounded: all vectors together may not hold more elements than the
file has room for, however often its tables point to one another.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import flatbuffers

from refmicro.errors import InvalidModelError, UsageError
from refmicro.model import _schema
from refmicro.model.graph import Model, Operator, OperatorCode, Signature, Subgraph
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor

MAX_TENSOR_BYTES = 2**31 - 1
"""TFLM counts a tensor's elements in an int; more cannot be planned."""

_DECODER_ERRORS = (
    struct.error,
    ValueError,
    IndexError,
    TypeError,
    OverflowError,
    AttributeError,
    RecursionError,
    UnicodeDecodeError,
    MemoryError,
)


def read_model(path: str | Path) -> Model:
    """The model in a file.

    Raises:
        UsageError: if the file cannot be read.
        InvalidModelError: if it is not a valid model.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the model file: {path}: {error.strerror or error}",
            hint="give the path of a .tflite file",
        ) from error
    return parse_model(data)


def parse_model(data: bytes) -> Model:
    """The model in `data`.

    Raises:
        InvalidModelError: with the place and what was found there.
    """
    if len(data) < 16 or data[4:8] != b"TFL3":
        found = f"{len(data)} bytes" if len(data) < 16 else f"identifier {data[4:8]!r}"
        raise InvalidModelError(
            f"not a .tflite file, the identifier TFL3 is missing: {found}",
            hint="convert the model with the TensorFlow Lite converter first",
        )
    return _Reader(bytes(data)).model()


class _Reader:
    """Reads one file; `place` says where, for the message of whatever goes wrong."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = "file header"
        # Legal files store each vector once or share a few; a file that makes the sum of its
        # vectors many times its own size is made to exhaust memory.
        self.budget = 8 * len(data) + 4096

    def fail(self, message: str) -> InvalidModelError:
        return InvalidModelError(
            f"{self.place}: {message}", hint="the file is damaged or was cut; convert it again"
        )

    def model(self) -> Model:
        try:
            return self._model()
        except InvalidModelError:
            raise
        except _DECODER_ERRORS as error:
            found = str(error) or type(error).__name__
            raise self.fail(f"an offset or length is out of range: {found}") from error

    def _model(self) -> Model:
        root = _schema.loader("Model").GetRootAs(self.data, 0)
        self.place = "buffers"
        self.buffers = [root.Buffers(i) for i in self.count(root.BuffersLength())]
        self.place = "operator codes"
        self.codes = [
            self.operator_code(i, root.OperatorCodes(i))
            for i in self.count(root.OperatorCodesLength())
        ]
        self.place = "subgraphs"
        if root.SubgraphsLength() == 0:
            raise self.fail("a model needs at least one subgraph: found none")
        self.subgraph_count = root.SubgraphsLength()
        subgraphs = tuple(
            self.subgraph(i, root.Subgraphs(i)) for i in self.count(self.subgraph_count)
        )
        self.place = "metadata"
        metadata = tuple(self.metadata(root.Metadata(i)) for i in self.count(root.MetadataLength()))
        self.place = "signatures"
        signatures = tuple(
            self.signature(root.SignatureDefs(i)) for i in self.count(root.SignatureDefsLength())
        )
        self.place = "file header"
        return Model(
            subgraphs,
            metadata,
            self.text(root.Description()),
            root.Version(),
            signatures,
            self.data,
        )

    def count(self, length: int) -> range:
        """Indices of a vector of `length` elements, charged to the budget."""
        self.budget -= length
        if self.budget < 0:
            raise self.fail(f"vectors hold more elements than the file has room for: {length}")
        return range(length)

    def ints(self, table: Any, accessor: str) -> tuple[int, ...]:
        """A vector of numbers, as Python numbers."""
        length = getattr(table, accessor + "Length")()
        if length == 0:
            return ()
        self.count(length)
        return tuple(getattr(table, accessor + "AsNumpy")().tolist())

    @staticmethod
    def text(value: bytes | None) -> str:
        return value.decode("utf-8", "replace") if value else ""

    def operator_code(self, index: int, code: Any) -> OperatorCode:
        self.place = f"operator code {index}"
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        name = _schema.enum_names("BuiltinOperator").get(number)
        if name is None:
            raise self.fail(f"builtin operator codes end at 209: {number}")
        custom = self.text(code.CustomCode())
        if name == "CUSTOM" and not custom:
            raise self.fail("a CUSTOM operator needs a custom code: found none")
        return OperatorCode(name, custom if name == "CUSTOM" else "", code.Version())

    def subgraph(self, index: int, graph: Any) -> Subgraph:
        self.place = f"subgraph {index}"
        tensors = tuple(
            self.tensor(index, i, graph.Tensors(i)) for i in self.count(graph.TensorsLength())
        )
        operators = tuple(
            self.operator(index, i, graph.Operators(i), len(tensors))
            for i in self.count(graph.OperatorsLength())
        )
        self.place = f"subgraph {index}"
        inputs, outputs = self.ints(graph, "Inputs"), self.ints(graph, "Outputs")
        self.check_indices("input", inputs, len(tensors), optional=False)
        self.check_indices("output", outputs, len(tensors), optional=False)
        return Subgraph(tensors, inputs, outputs, operators, self.text(graph.Name()))

    def check_indices(self, what: str, indices: tuple, count: int, *, optional: bool) -> None:
        low = -1 if optional else 0
        for index in indices:
            if not low <= index < count:
                raise self.fail(f"{what} tensor must be one of {count} tensors: index {index}")

    def tensor(self, subgraph: int, index: int, tensor: Any) -> Tensor:
        self.place = f"subgraph {subgraph}, tensor {index}"
        code = tensor.Type()
        try:
            dtype = DType(code)
        except ValueError:
            raise self.fail(f"tensor type is not in the schema: {code}") from None
        shape = self.ints(tensor, "Shape")
        if any(size < 0 for size in shape):
            raise self.fail(f"dimensions must not be negative: {list(shape)}")
        item = dtype.itemsize_bytes or 1
        if math.prod(size for size in shape if size) * item > MAX_TENSOR_BYTES:
            raise self.fail(f"a tensor must stay below 2^31 bytes: {dtype}{list(shape)}")
        return Tensor(
            name=self.text(tensor.Name()),
            dtype=dtype,
            shape=shape,
            quantization=self.quantization(tensor.Quantization()),
            data=self.constant(tensor.Buffer(), dtype, shape),
            is_variable=bool(tensor.IsVariable()),
            shape_signature=self.ints(tensor, "ShapeSignature"),
            has_shape=not tensor.ShapeIsNone(),
        )

    def constant(self, buffer: int, dtype: DType, shape: tuple[int, ...]) -> memoryview | None:
        """The bytes of a buffer, None where it is empty: TFLM then plans memory for the tensor."""
        if buffer >= len(self.buffers):
            raise self.fail(f"buffer must be one of {len(self.buffers)} buffers: index {buffer}")
        data = self.buffer_bytes(buffer)
        if data is None:
            return None
        elements = math.prod(shape)
        need = (
            (elements + 1) // 2 if dtype is DType.INT4 else elements * (dtype.itemsize_bytes or 0)
        )
        if len(data) < need:
            raise self.fail(f"buffer {buffer} must hold {need} bytes: found {len(data)}")
        return data

    def buffer_bytes(self, index: int) -> memoryview | None:
        buffer = self.buffers[index]
        if buffer.Offset() > 1 or buffer.Size() > 1:
            raise self.fail(f"buffer {index} lies outside the flatbuffer, which TFLM cannot read")
        if buffer.DataLength() == 0:
            return None
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        end = start + buffer.DataLength()
        if not 0 <= start <= end <= len(self.data):
            raise self.fail(f"buffer {index} must lie inside {len(self.data)} bytes: ends at {end}")
        return memoryview(self.data)[start:end]

    def quantization(self, table: Any) -> Quantization:
        if table is None:
            return NO_QUANTIZATION
        scale, zero_point = self.ints(table, "Scale"), self.ints(table, "ZeroPoint")
        if scale and zero_point and len(zero_point) not in (1, len(scale)):
            raise self.fail(f"zero points must be 1 or {len(scale)}: found {len(zero_point)}")
        for number in zero_point:
            if not -(2**31) <= number < 2**31:
                raise self.fail(f"a zero point must fit 32 bits: {number}")
        return Quantization(
            scale,
            zero_point,
            table.QuantizedDimension(),
            self.ints(table, "Min"),
            self.ints(table, "Max"),
        )

    def operator(self, subgraph: int, index: int, op: Any, tensors: int) -> Operator:
        self.place = f"subgraph {subgraph}, operator {index}"
        if op.OpcodeIndex() >= len(self.codes):
            raise self.fail(
                f"operator code must be one of {len(self.codes)}: index {op.OpcodeIndex()}"
            )
        code = self.codes[op.OpcodeIndex()]
        self.place += f" ({code.name})"
        inputs, outputs = self.ints(op, "Inputs"), self.ints(op, "Outputs")
        intermediates = self.ints(op, "Intermediates")
        self.check_indices("input", inputs, tensors, optional=True)
        self.check_indices("output", outputs, tensors, optional=False)
        self.check_indices("intermediate", intermediates, tensors, optional=True)
        options_type, options = self.options(op)
        custom = b""
        if op.CustomOptionsLength():
            self.count(op.CustomOptionsLength())
            custom = op.CustomOptionsAsNumpy().tobytes()
        return Operator(code, inputs, outputs, options, options_type, custom, intermediates)

    def options(self, op: Any) -> tuple[str, dict[str, Any]]:
        """Name and fields of the options table in either of the schema's two unions."""
        for union, number, table in (
            ("BuiltinOptions", op.BuiltinOptionsType(), op.BuiltinOptions()),
            ("BuiltinOptions2", op.BuiltinOptions2Type(), op.BuiltinOptions2()),
        ):
            if number and table is not None:
                name = _schema.enum_names(union).get(number)
                if name is None:
                    raise self.fail(f"options table is not in the schema: {number}")
                return name, self.option_fields(name, table)
        return "", {}

    def option_fields(self, name: str, table: flatbuffers.table.Table) -> dict[str, Any]:
        holder = _schema.loader(name)()
        holder.Init(table.Bytes, table.Pos)
        fields: dict[str, Any] = {}
        for snake, accessor, is_vector in _schema.table_fields(name):
            if is_vector:
                fields[snake] = self.ints(holder, accessor)
                continue
            value = getattr(holder, accessor)()
            fields[snake] = self.text(value) if isinstance(value, bytes) else value
        return fields

    def metadata(self, entry: Any) -> tuple[str, bytes]:
        name = self.text(entry.Name())
        if entry.Buffer() >= len(self.buffers):
            raise self.fail(
                f"'{name}' must point to one of {len(self.buffers)} buffers: index {entry.Buffer()}"
            )
        return name, bytes(self.buffer_bytes(entry.Buffer()) or b"")

    def signature(self, entry: Any) -> Signature:
        def pairs(get: Any, length: int) -> tuple[tuple[str, int], ...]:
            items = (get(i) for i in self.count(length))
            return tuple((self.text(item.Name()), item.TensorIndex()) for item in items)

        return Signature(
            self.text(entry.SignatureKey()),
            entry.SubgraphIndex(),
            pairs(entry.Inputs, entry.InputsLength()),
            pairs(entry.Outputs, entry.OutputsLength()),
        )
