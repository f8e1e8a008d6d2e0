"""The real models that tests run on."""

from __future__ import annotations

import json
from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"
MANIFEST = json.loads((GOLDEN / "MANIFEST.json").read_text())

MAMBA = {path.parent.name: path for path in sorted((GOLDEN / "models").glob("*/model.tflite"))}
TFLM = {path.stem: path for path in sorted((GOLDEN / "tflm").glob("*.tflite"))}
ALL = MAMBA | TFLM
REFUSED = {name for name, entry in MANIFEST["models"].items() if "refused" in entry}
