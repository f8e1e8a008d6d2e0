"""Input vectors for checks and golden files: random, weighted to the edges, from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refmicro.errors import UsageError
from refmicro.types import DType, Tensor

MAX_ELEMENTS = 1 << 27
"""Of one input over all vectors; they are made at once, in some gigabytes of memory."""

INDEX_LIMIT = 8
"""int32 and int64 inputs are mostly indices and counters; they are kept below this."""


def random_rows(tensor: Tensor, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` arrays for one tensor, shape (count, *shape), the tensor's type.

    The first rows are the lowest value, the highest, the zero point, and both ends in turn; the
    others mix uniform values, values near the zero point, and single values at the ends.

    Raises:
        UsageError: if they have more than `MAX_ELEMENTS` elements.
    """
    if count * tensor.elements > MAX_ELEMENTS:
        raise UsageError(
            f"{count} vectors of {tensor.elements} elements are too many: at most {MAX_ELEMENTS} "
            "elements",
            hint="ask for fewer, and again with another seed",
        )
    shape = (count, *tensor.shape)
    dtype = tensor.dtype.numpy
    if tensor.dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind == "f":
        return rng.normal(0, 3, shape).astype(dtype)
    low, high = _limits(tensor, dtype)
    values = rng.integers(low, high, shape, dtype=np.int64, endpoint=True)
    near = np.rint(rng.normal(tensor.zero_point, (high - low) / 12, shape)).astype(np.int64)
    edges = rng.choice(np.array([low, low + 1, high - 1, high]), shape)
    values = np.where(rng.random((count, *[1] * len(tensor.shape))) < 0.5, near, values)
    values = np.where(rng.random(shape) < 0.05, edges, values)
    turn = np.resize([low, high], tensor.shape)
    for row, value in enumerate((low, high, tensor.zero_point, turn)):
        if row < count:
            values[row] = value
    return values.clip(low, high).astype(dtype)


def _limits(tensor: Tensor, dtype: np.dtype) -> tuple[int, int]:
    if tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16):
        limits = np.iinfo(dtype)
        return int(limits.min), int(limits.max)
    return 0, INDEX_LIMIT - 1


def random_inputs(tensors: Sequence[Tensor], count: int, seed: int) -> list[np.ndarray]:
    """One array of `count` rows for each input tensor, the same for the same seed everywhere."""
    return [
        random_rows(tensor, count, np.random.default_rng([seed, index]))
        for index, tensor in enumerate(tensors)
    ]
