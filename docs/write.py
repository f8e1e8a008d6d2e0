"""Writes `docs/ops.md` and the generated list in `docs/limits.md`.

Usage: python docs/write.py
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from refmicro._files import write_files
from refmicro.ops import registry
from refmicro.report.ops_table import differences, ops_document

ROOT = Path(__file__).parents[1]

FIRST = "<!-- from the operators' docstrings: make ops -->\n"
LAST = "<!-- end of what is generated -->\n"


def operator_docs() -> dict[str, str]:
    """The docstring of each operator's file."""
    modules = {name: registry.module_name(name) for name in registry.names()}
    return {
        name: importlib.import_module(f"refmicro.ops.{module}").__doc__ or ""
        for name, module in modules.items()
    }


def documents() -> dict[Path, bytes]:
    """Both pages as they should be."""
    docs = operator_docs()
    record = json.loads((ROOT / "golden" / "ops_compared.json").read_text())
    limits = ROOT / "docs" / "limits.md"
    before, rest = limits.read_text().split(FIRST)
    after = rest.split(LAST)[1]
    text = before + FIRST + differences(docs) + LAST + after
    return {
        ROOT / "docs" / "ops.md": ops_document(docs, record).encode(),
        limits: text.encode(),
    }


def main() -> int:
    """Write them."""
    write_files(documents())
    return 0


if __name__ == "__main__":
    sys.exit(main())
