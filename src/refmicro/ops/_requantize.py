"""Accumulators to quantized outputs: multiplier, shift, offset and activation of many channels.

Source: the tails of `tensorflow/lite/kernels/internal/reference/integer_ops/{conv,fully_connected,
depthwise_conv}.h`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.fixedpoint import (
    clamp,
    multiply_by_quantized_multiplier,
    multiply_int64_by_quantized_multiplier,
)


@dataclass(frozen=True)
class Requantizer:
    """Turns an (R, C) array of accumulators into outputs, column by column.

    Attributes:
        multipliers, shifts: one a column, as Python integers.
        output_offset: zero point of the output.
        low, high: limits of the activation.
        dtype: type of the output.
        wide: accumulators are int64 in TFLM, which rounds them differently.
    """

    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    output_offset: int
    low: int
    high: int
    dtype: np.dtype
    wide: bool = False

    def broadcast(self, columns: int) -> Requantizer:
        """The same with `columns` columns: a single multiplier is repeated, more are cut."""
        if len(self.multipliers) == columns:
            return self
        repeat = columns if len(self.multipliers) == 1 else 1
        return dataclasses.replace(
            self,
            multipliers=(self.multipliers * repeat)[:columns],
            shifts=(self.shifts * repeat)[:columns],
        )

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.multipliers, np.int64), np.array(self.shifts, np.int64)

    def __call__(self, accumulators: np.ndarray) -> np.ndarray:
        """Outputs of integer-valued `accumulators` (int or float type), same shape (R, C)."""
        out = np.empty(accumulators.shape, self.dtype)
        multipliers, shifts = self._columns
        kernel = _requantize_wide if self.wide else _requantize
        kernel(accumulators, multipliers, shifts, self.output_offset, self.low, self.high, out)
        return out


@jit
def _requantize(accumulators, multipliers, shifts, offset, low, high, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            value = multiply_by_quantized_multiplier(
                int(accumulators[row, column]), multipliers[column], shifts[column]
            )
            out[row, column] = clamp(value + offset, low, high)


@jit
def _requantize_wide(accumulators, multipliers, shifts, offset, low, high, out):
    for row in range(accumulators.shape[0]):
        for column in range(accumulators.shape[1]):
            value = multiply_int64_by_quantized_multiplier(
                int(accumulators[row, column]), multipliers[column], shifts[column]
            )
            out[row, column] = clamp(value + offset, low, high)
