"""What operators that run other subgraphs share: values that go in and come out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refmicro.ops._spec import PrepareContext
from refmicro.types import Tensor


def require_copyable(
    ctx: PrepareContext, what: str, sources: Sequence[Tensor | None], targets: Sequence[Tensor]
) -> None:
    """Values are copied byte by byte from one list of tensors to another.

    TFLM compares their sizes when it runs; it does not compare types.
    """
    ctx.require(
        len(sources) == len(targets), f"{what} must be {len(sources)} tensors", len(targets)
    )
    for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
        ctx.require_shape(source is not None, f"tensor {index} must be present", "absent")
        ctx.require(
            source.nbytes == target.nbytes,
            f"{what} {index} must have {source.nbytes} bytes",
            target.nbytes,
        )
        ctx.require_shape(
            source.dtype is target.dtype,
            f"{what} {index} must be {source.dtype}",
            target.dtype,
        )


def require_writable(ctx: PrepareContext, what: str, tensors: Sequence[Tensor]) -> None:
    """TFLM copies into these tensors: they must be neither constants nor variables."""
    for index, tensor in enumerate(tensors):
        ctx.require_shape(
            not (tensor.is_constant or tensor.is_variable),
            f"{what} {index} must be computed",
            "a constant" if tensor.is_constant else "a variable",
        )


def shaped(values: Sequence[np.ndarray], tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Values in the shapes of the tensors they are copied to."""
    return [
        array.reshape(array.shape[0], *tensor.shape)
        for array, tensor in zip(values, tensors, strict=True)
    ]
