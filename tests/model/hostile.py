"""Files that are damaged on purpose, and what refmicro may do with them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from refmicro.errors import InvalidModelError, UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.model import _schema
from refmicro.model._flatbuffer import File, Table
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.program import prepare_model
from refmicro.types import TflmBuild

REFUSALS = (InvalidModelError, UnsupportedError, UsageError)
"""The only ways in which a bad file may end; each is one sentence and an exit code."""

CASE_SECONDS = 5.0
"""No small file may keep a processor busy for longer."""

INVOKE_BYTES = 1 << 22
"""Models whose tensors are larger are prepared but not run."""

CHILD_TABLES = {
    "subgraphs": "SubGraph",
    "tensors": "Tensor",
    "operators": "Operator",
    "operator_codes": "OperatorCode",
    "buffers": "Buffer",
    "metadata": "Metadata",
    "quantization": "QuantizationParameters",
    "signature_defs": "SignatureDef",
}


def judge(data: bytes) -> str:
    """Read, prepare and run `data`; "ran", "prepared", or the name of the error that refused it.

    Any other exception is a failure of the test, and so is taking too long.
    """
    verdict, model = prepared(data)
    return run(model) if model is not None and runs_quickly(model) else verdict


def prepared(data: bytes) -> tuple[str, Model | None]:
    """Read and prepare `data`; "prepared" and the model, or the name of the error and None."""
    start = time.process_time()
    verdict, model = "prepared", None
    try:
        model = parse_model(data)
        prepare_model(model, TflmBuild())
        prepare_model(model, TflmBuild.wheel())
    except REFUSALS as error:
        verdict, model = type(error).__name__, None
        check_message(error)
    seconds = time.process_time() - start
    assert seconds < CASE_SECONDS, f"took {seconds:.1f} s and ended as {verdict}"
    return verdict, model


def run(model: Model) -> str:
    """Run a model once on zeros; "ran" or the name of the error. Kernels may be compiled for it."""
    try:
        interpreter = Interpreter(model)
        interpreter.invoke()
        for index in range(interpreter.output_count):
            interpreter.get_output(index)
    except REFUSALS as error:
        check_message(error)
        return type(error).__name__
    return "ran"


def runs_quickly(model: Model) -> bool:
    """Small, and without loops: a damaged loop may go on until its limit."""
    nbytes = sum(tensor.nbytes for graph in model.subgraphs for tensor in graph.tensors)
    names = {op.name for graph in model.subgraphs for op in graph.operators}
    return nbytes <= INVOKE_BYTES and "WHILE" not in names


def check_message(error: InvalidModelError | UnsupportedError | UsageError) -> None:
    """One sentence that fits a terminal and carries nothing out of the file that could harm it."""
    assert error.message
    assert len(error.message) < 600, error.message
    assert error.message.isprintable(), repr(error.message)
    assert error.exit_code in (2, 3)


def field_position(data: bytes, *path: str | int) -> tuple[int, _schema.Field]:
    """Where a field of a valid file is stored, by a path such as `"subgraphs", 0, "name"`."""
    table: Any = File(data).root("Model")
    steps = list(path)
    while len(steps) > 1:
        key = steps.pop(0)
        if isinstance(steps[0], int):
            table = list(table.tables(key, CHILD_TABLES[key]))[steps.pop(0)]
        else:
            table = table.table(key, CHILD_TABLES[key])
    field = _schema.fields(table.name)[steps[0]]
    offset = table._offsets[field.slot]
    assert offset, f"{path} is absent in this file"
    return table.position + offset, field


def patched(data: bytes, path: Sequence[str | int], value: Any) -> bytes:
    """`data` with another value of a scalar field, or another target of an offset."""
    position, field = field_position(data, *path)
    out = bytearray(data)
    field.number.pack_into(out, position, value)
    return bytes(out)


def patched_vector(data: bytes, path: Sequence[str | int], index: int, value: Any) -> bytes:
    """`data` with another element of a vector; index -1 is the vector's length."""
    position, field = field_position(data, *path)
    start = position + struct.unpack_from("<I", data, position)[0] + 4
    out = bytearray(data)
    if index < 0:
        struct.pack_into("<I", out, start - 4, value)
    else:
        field.number.pack_into(out, start + index * field.number.size, value)
    return bytes(out)


def offset_positions(data: bytes) -> Iterator[int]:
    """Where the offsets and vector lengths of a small file are, found by walking all tables."""
    seen: set[int] = set()

    def walk(table: Table) -> Iterator[int]:
        if table.position in seen:
            return
        seen.add(table.position)
        yield table.position
        for key, field in _schema.fields(table.name).items():
            if field.kind == "scalar" or not table.has(key):
                continue
            position = table.position + table._offsets[field.slot]
            yield position
            if field.kind != "table" and field.kind != "union":
                yield position + struct.unpack_from("<I", data, position)[0]
            if key not in CHILD_TABLES:
                continue
            if field.kind == "table":
                yield from walk(table.table(key, CHILD_TABLES[key]))
            elif field.kind == "tables":
                for child in table.tables(key, CHILD_TABLES[key]):
                    yield from walk(child)

    yield 0
    yield from walk(File(data).root("Model"))
