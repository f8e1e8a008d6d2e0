"""The generated pages are what the operators and the record say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from refmicro.ops import registry
from refmicro.report.ops_table import section
from refmicro.types import TFLM_WHEEL

ROOT = Path(__file__).parents[1]
RECORD = json.loads((ROOT / "golden" / "ops_compared.json").read_text())


def writer():
    path = ROOT / "docs" / "write.py"
    if not path.is_file():
        pytest.skip("docs/write.py is not part of this distribution; a clone has it")
    spec = importlib.util.spec_from_file_location("docs_write", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_operator_was_compared() -> None:
    for name in registry.names():
        row = RECORD["operators"].get(name, {"compared": []})
        assert row["compared"], f"{name} is not in golden/ops_compared.json: make record"
        assert all(cell["models"] > 0 for cell in row["compared"]), name
        assert sum(cell["values"] for cell in row["compared"]) > 0, name


def test_no_accepted_types_are_left_out() -> None:
    left = {
        name: row["not_compared"]
        for name, row in RECORD["operators"].items()
        if row["not_compared"]
    }
    assert not left, f"compare them in tests/ops/test_types.py, then make record: {left}"


def test_the_record_is_of_the_pinned_wheel() -> None:
    assert RECORD["judged_by"]["tflite_micro"] == TFLM_WHEEL


def test_pages_are_up_to_date() -> None:
    stale = [path.name for path, want in writer().documents().items() if path.read_bytes() != want]
    assert not stale, f"{stale}: run `make ops`"


def test_every_operator_has_a_row_and_its_own_part() -> None:
    text = (ROOT / "docs" / "ops.md").read_text()
    for name in registry.names():
        assert f"| [{name}](#{name.lower()}) |" in text
        assert f"\n## {name}\n" in text


def test_sections_end_where_the_next_begins() -> None:
    doc = "X: y.\n\nShapes: any\nshape.\nDiffers: not\nat all: never.\nSource: there.\n"
    assert section(doc, "Shapes") == "any shape."
    assert section(doc, "Differs") == "not at all: never."
    assert section(doc, "Quantization") == ""
