"""What is done to a model before it is emitted: exact transforms that save memory and work.

Scans become one operator (`transform.fuse_scan`), so that none of their products over channels and
states needs memory; copies, repeated work and float functions between quantized tensors go
(`transform.fuse`). A step that leads to an operator that cannot be emitted is left out. The proof
compares the emitted C with the model as it came.
"""

from __future__ import annotations

from collections.abc import Callable

from refmicro.emit import registry
from refmicro.model.graph import Model
from refmicro.transform.fuse import fuse
from refmicro.transform.fuse_scan import fuse_scan


def simplified(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model to emit, and what was done, in words.

    Raises:
        UnsupportedError, InvalidModelError: if the model is refused.
    """
    done: list[str] = []
    for step in (_without_scans, _without_copies):
        model = _taken(model, step, done)
    return model, tuple(done)


def _taken(
    model: Model, step: Callable[[Model], tuple[Model, tuple[str, ...]]], done: list[str]
) -> Model:
    """The result of a step, or the model itself where the result has operators without C."""
    result, words = step(model)
    if _missing(result) - _missing(model):
        return model
    done += words
    return result


def _missing(model: Model) -> set[str]:
    names = {op.name for graph in model.subgraphs for op in graph.operators}
    return {name for name in names if registry.find(name) is None}


def _without_scans(model: Model) -> tuple[Model, tuple[str, ...]]:
    found = fuse_scan(model)
    words = tuple(
        f"a scan of {steps} step{'s' * (steps > 1)}, {channels} channels and {size} states became "
        "one operator"
        for steps, channels, size in found.scans
    )
    return (found.model, (*words, *found.removed)) if found.scans else (model, ())


def _without_copies(model: Model) -> tuple[Model, tuple[str, ...]]:
    found = fuse(model)
    return (found.model, found.removed) if found.removed else (model, ())
