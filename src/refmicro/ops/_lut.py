"""TFLM's table of 513 values for a function of an int16 input, and its interpolation.

Source: `LUTPopulateInt16` and `LUTLookup` in `tensorflow/lite/kernels/internal/common.h`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refmicro._jit import jit
from refmicro.ops._elementwise import round_away

_STEPS = 512
_LOW, _HIGH = -32768, 32767


def lut_int16(
    input_range: tuple[np.float32, int],
    output_range: tuple[np.float32, int],
    transform: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The table as int64.

    Args:
        input_range, output_range: (scale, zero point).
        transform: the function, on float32 arrays; every step here is a float32 one.
    """
    input_low, input_high = (
        input_range[0] * np.float32(end - input_range[1]) for end in (_LOW, _HIGH)
    )
    output_low, output_high = (
        output_range[0] * np.float32(end - output_range[1]) for end in (_LOW, _HIGH)
    )
    two = np.float32(2)
    step = (input_high - input_low) / np.float32(_STEPS)
    inverse = np.float32(_HIGH - _LOW + 1) / (output_high - output_low)
    index = np.arange(_STEPS + 1, dtype=np.float32)
    points = input_low + index * step
    values = transform(points) * inverse
    sample = round_away(values[:-1])
    middle = round_away(transform(points[:-1] + step / two) * inverse)
    interpolated = round_away((values[1:] + sample) / two)
    bias = round_away((interpolated - middle) / two)
    last = round_away(transform(np.array([input_high])) * inverse)
    return np.concatenate([sample - bias, last]).clip(_LOW, _HIGH).astype(np.int64)


@jit
def lut_lookup(value, table):
    """The function at an int16 `value`: the high 9 bits index, the low 7 interpolate."""
    index = 256 + (value >> 7)
    base = table[index]
    return base + (((table[index + 1] - base) * (value & 0x7F) + 64) >> 7)
