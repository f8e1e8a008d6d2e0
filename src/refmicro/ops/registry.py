"""Finds an operator's file by its name: `FULLY_CONNECTED` lives in `fully_connected.py`.

There is no list to keep: a new file is a new operator, and a model loads only the operators that it
uses. Custom codes are turned to snake case, so `SignalFftAutoScale` lives in
`signal_fft_auto_scale.py`.
"""

from __future__ import annotations

import functools
import importlib
import re

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
    path = f"refmicro.ops.{module}"
    try:
        spec = importlib.import_module(path).OP
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return None
    return spec if spec.name == name else None


def names() -> tuple[str, ...]:
    """Every operator that refmicro has, sorted."""
    # Only tools list all operators; a model's reader need not load what lists them.
    import pkgutil

    from refmicro import ops

    modules = (info.name for info in pkgutil.iter_modules(ops.__path__))
    files = (name for name in modules if not name.startswith("_") and name != "registry")
    specs = (importlib.import_module(f"refmicro.ops.{name}").OP for name in files)
    return tuple(sorted(spec.name for spec in specs))
