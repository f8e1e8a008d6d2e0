"""Writes the golden vectors of every model under `golden/models` again, with the real TFLM.

Usage: python golden/write.py

A vector changes only with the pinned TFLM wheel or with a decision record. Models that TFLM refuses
get no vectors; `golden/MANIFEST.json` says why.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from refmicro._files import write_files
from refmicro.bridge import OracleRefusal
from refmicro.golden import write_golden
from refmicro.model.reader import read_model
from refmicro.types import TFLM_REVISION, TFLM_WHEEL

ROOT = Path(__file__).parent
COUNT = 8
"""Vectors, or streams of 8 steps, for each model: enough to catch a change, small in the clone."""


def main() -> int:
    """Write all vectors and the manifest over them."""
    entries = {}
    for path in sorted((ROOT / "models").glob("*/model.tflite")):
        name = path.parent.name
        model = read_model(path)
        entry = {"sha256": model.sha256, "bytes": len(model.source)}
        try:
            manifest = write_golden(model, name, path.parent, count=COUNT, formats=("npz",))
        except OracleRefusal as refusal:
            entry["refused"] = refusal.message
        else:
            entry |= {key: manifest[key] for key in ("seed", "count", "steps", "files")}
        entries[name] = entry
        print(name)
    document = {
        "schema_version": 1,
        "written_by": {"tflite_micro": TFLM_WHEEL, "revision": TFLM_REVISION},
        "models": entries,
    }
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    write_files({ROOT / "MANIFEST.json": text.encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
