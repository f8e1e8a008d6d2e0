"""Finds an operator's file by its name: `FULLY_CONNECTED` lives in `fully_connected.py`.

There is no list to keep: a new file is a new operator, and a model loads only the operators that it
uses. Custom codes are turned to snake case, so `SignalFftAutoScale` lives in
`signal_fft_auto_scale.py`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

from refmicro.ops._spec import OpSpec


def module_name(name: str) -> str:
    """The file's name, without ending, of the operator `name`."""
    if name.isupper():
        return name.lower()
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@functools.cache
def find(name: str) -> OpSpec | None:
    """The operator of that name, None where refmicro has none."""
    module = module_name(name)
    if module.startswith("_") or module == "registry" or not module.isidentifier():
        return None
    if importlib.util.find_spec(f"refmicro.ops.{module}") is None:
        return None
    spec = importlib.import_module(f"refmicro.ops.{module}").OP
    return spec if spec.name == name else None


def names() -> tuple[str, ...]:
    """Every operator that refmicro has, sorted."""
    modules = (info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)]))
    files = (name for name in modules if not name.startswith("_") and name != "registry")
    specs = (importlib.import_module(f"refmicro.ops.{name}").OP for name in files)
    return tuple(sorted(spec.name for spec in specs))
