"""What the schema package is found to know, against its own accessors."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import flatbuffers
import pytest
import tflite

from refmicro.model import _schema
from refmicro.types import DType
from tests.models import ALL

TABLES = sorted(
    info.name
    for info in pkgutil.iter_modules(tflite.__path__)
    if hasattr(importlib.import_module(f"tflite.{info.name}"), f"{info.name}Start")
)


def empty_table(name: str):
    """The generated reader of a table without any field."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(0)
    builder.Finish(builder.EndObject())
    holder = getattr(importlib.import_module(f"tflite.{name}"), name)
    return holder.GetRootAs(bytes(builder.Output()), 0)


def test_all_tables_are_there() -> None:
    assert len(TABLES) > 140
    assert {"Model", "SubGraph", "Tensor", "Operator", "Conv2DOptions"} <= set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_fields_agree_with_the_accessors(name: str) -> None:
    table = empty_table(name)
    slots = set()
    for key, field in _schema.fields(name).items():
        assert key == field.name == _schema.snake_case(field.accessor)
        slots.add(field.slot)
        if field.kind == "scalar":
            default = getattr(table, field.accessor)()
            assert (type(field.default), field.default) == (type(default), default)
        else:
            assert field.default is None
            assert field.is_vector == hasattr(table, f"{field.accessor}Length")
    assert len(slots) == len(_schema.fields(name))


def test_kinds() -> None:
    tensor = _schema.fields("Tensor")
    assert [tensor[key].kind for key in ("type", "name", "shape", "quantization")] == [
        "scalar",
        "text",
        "numbers",
        "table",
    ]
    assert tensor["shape"].number.format == "<i"
    assert _schema.fields("QuantizationParameters")["zero_point"].number.format == "<q"
    assert _schema.fields("Model")["subgraphs"].kind == "tables"
    assert _schema.fields("Operator")["builtin_options"].kind == "union"
    assert _schema.fields("OperatorCode")["version"].default == 1


def test_enums() -> None:
    names = _schema.enum_names("BuiltinOperator")
    assert (names[0], names[3], names[32]) == ("ADD", "CONV_2D", "CUSTOM")
    assert _schema.enum_codes("BuiltinOperator")["CONV_2D"] == 3
    types = _schema.enum_names("TensorType")
    assert {dtype.value: dtype.name for dtype in DType} == types


def test_reading_does_not_import_the_whole_package() -> None:
    code = (
        "import sys; from refmicro.model.reader import read_model; read_model(sys.argv[1]);"
        "loaded = [m for m in sys.modules if m.startswith('refmicro.model._tflite.')];"
        "assert 'tflite' not in sys.modules; assert 5 < len(loaded) < 40, loaded;"
        "import tflite; assert tflite.Model and tflite.BuiltinOperator.ADD == 0"
    )
    path = ALL["s_elu_stream_int8"]
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_package_that_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = type("Finder", (), {"find_spec": staticmethod(lambda name: None)})
    monkeypatch.setattr(_schema.importlib.machinery, "PathFinder", finder)
    assert _schema._package.__wrapped__() == "tflite"
