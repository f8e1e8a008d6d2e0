"""Finds how an operator is emitted by its name: `FULLY_CONNECTED` in `ops/fully_connected.py`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable

from refmicro.ops.registry import module_name


@functools.cache
def find(name: str) -> Callable | None:
    """The `emit` function of the operator of that name, None where it cannot be emitted."""
    module = module_name(name)
    if module.startswith("_") or not module.isidentifier():
        return None
    path = f"refmicro.emit.ops.{module}"
    try:
        return importlib.import_module(path).emit
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return None


def modules() -> tuple[str, ...]:
    """Names of all operators' files, sorted."""
    from refmicro.emit import ops

    found = (info.name for info in pkgutil.iter_modules(ops.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))
