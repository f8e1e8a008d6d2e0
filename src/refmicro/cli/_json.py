"""JSON documents that every parser reads."""

from __future__ import annotations

import json
import math
import sys
from typing import Any


def print_json(document: Any) -> None:
    """One document on stdout; JSON has no NaN and no infinity, which become their names."""
    sys.stdout.write(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
