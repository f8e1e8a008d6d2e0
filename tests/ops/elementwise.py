"""Cases that the tests of element-wise operators share."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import strategies as st

from refmicro.model.graph import Model
from refmicro.types import DType, Tensor
from tests.ops.harness import model_of, tensor

_LIBRARY, _VERSION = platform.libc_ver()
OLD_GLIBC = pytest.mark.skipif(
    _LIBRARY != "glibc" or not (2, 28) <= tuple(map(int, _VERSION.split(".")[:2])) < (2, 41),
    reason="this C library rounds expm1f and tanhf in another way; glibc 2.28 to 2.40 makes it run",
)
"""Marks tests of float32 ELU and TANH: their last bit is the C library's."""

SCALES = st.floats(2.0**-12, 4.0, width=32)
POINTS = st.integers(-128, 127)
ACTIVATIONS = st.sampled_from([0, 1, 2, 3, 4])

SHAPES = [
    ((), (), ()),
    ((7,), (7,), (7,)),
    ((2, 3, 5), (2, 3, 5), (2, 3, 5)),
    ((2, 3), (2, 3), (1, 2, 3)),
    ((2, 3, 5), (), (2, 3, 5)),
    ((), (4,), (4,)),
    ((1,), (3, 4), (3, 4)),
    ((4,), (3, 1), (3, 4)),
    ((1, 8, 4), (1, 8, 1), (1, 8, 4)),
    ((1, 1, 4), (1, 8, 1), (1, 8, 4)),
    ((2, 1, 3, 1), (1, 4, 1, 5), (2, 4, 3, 5)),
    ((2, 3, 4, 5), (3, 1, 5), (2, 3, 4, 5)),
]
"""Shapes of two inputs and the output, up to 4 dimensions."""

WIDE_SHAPES = [
    ((2, 1, 2, 1, 3), (1, 2, 1, 2, 1), (2, 2, 2, 2, 3)),
    ((2, 1, 2, 1, 3, 1), (1, 2, 1, 2, 1, 2), (2, 2, 2, 2, 3, 2)),
    ((1, 2, 1, 2, 1, 2), (2, 3), None),
]
"""Shapes of 5 and 6 dimensions; the last one does not broadcast."""


@st.composite
def broadcast_shapes(draw, rank: int = 6):
    """Shapes of two inputs that broadcast, and of the output."""
    full = draw(st.lists(st.integers(1, 4), min_size=1, max_size=rank))
    sides = []
    for _ in range(2):
        side = [size if draw(st.booleans()) else 1 for size in full]
        drop = draw(st.integers(0, len(full) - 1))
        while drop and side and side[0] == 1:
            side, drop = side[1:], drop - 1
        sides.append(tuple(side))
    a, b = sides
    return a, b, np.broadcast_shapes(a, b)


def operand(
    dtype: DType,
    shape: Sequence[int],
    scale: float = 0.0,
    zero_point: int = 0,
    data: np.ndarray | None = None,
) -> Tensor:
    """A tensor that is quantized where `scale` is not 0."""
    return tensor(dtype, shape, scale=scale or (), zero_point=zero_point, data=data)


def pair_model(
    name: str,
    dtype: DType,
    shapes: Sequence[Sequence[int]],
    *,
    scales: Sequence[float] = (0.0, 0.0, 0.0),
    points: Sequence[int] = (0, 0, 0),
    output: DType | None = None,
    activation: int | None = None,
    constant: np.ndarray | None = None,
) -> Model:
    """One operator of two inputs; `constant` makes the second one a constant."""
    a, b, out = (
        operand(kind, shape, scale, point, data)
        for kind, shape, scale, point, data in zip(
            (dtype, dtype, output or dtype),
            shapes,
            scales,
            points,
            (None, constant, None),
            strict=True,
        )
    )
    options = None if activation is None else {"fused_activation_function": activation}
    return model_of(name, [a, b], [out], options)


def single_model(
    name: str,
    dtype: DType,
    shape: Sequence[int],
    *,
    scales: Sequence[float] = (0.0, 0.0),
    points: Sequence[int] = (0, 0),
    output: DType | None = None,
    options: dict | None = None,
) -> Model:
    """One operator of one input."""
    x = operand(dtype, shape, scales[0], points[0])
    out = operand(output or dtype, shape, scales[1], points[1])
    return model_of(name, [x], [out], options)


PAIR_SHAPES = ((256, 1), (1, 256), (256, 256))


def every_pair(dtype: type = np.int8) -> list[np.ndarray]:
    """One row of inputs for `PAIR_SHAPES`: all 65,536 pairs of 8-bit values."""
    values = np.arange(256, dtype=np.uint8).view(dtype)
    return [values.reshape(1, 256, 1), values.reshape(1, 1, 256)]


def every_value(dtype: np.dtype) -> list[np.ndarray]:
    """One row with all values of an 8-bit or 16-bit type."""
    info = np.iinfo(dtype)
    return [np.arange(info.min, info.max + 1).astype(dtype).reshape(1, -1)]


def floats(*shape: int, seed: int = 0, spread: float = 4.0) -> np.ndarray:
    """float32 values of many magnitudes, with zeros, infinities and a NaN among them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, spread, shape).astype(np.float32)
    flat = values.reshape(-1)
    special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -3e38, 6, -1, 1])
    flat[:: max(1, flat.size // special.size)][: special.size] = special[
        : flat[:: max(1, flat.size // special.size)].size
    ]
    return values
