"""LOG_SOFTMAX over the last dimension: output = (x - max) - log(sum of e^(x - max)).

Shapes: input and output have the same shape, of at least one dimension.
Quantization: int8 to int8 with zero point 127 and scale 1/16, in 32-bit fixed point; float32, sums
taken in order.
Persistent: int8 keeps 40 bytes with 64-bit `size_t`, 28 with 32.
Differs: an int8 row whose exponentials sum to 4096 or more overflows TFLM's sum; here the
invocation fails with a sentence.
Source: `tensorflow/lite/micro/kernels/log_softmax.cc`,
`tensorflow/lite/kernels/internal/reference/log_softmax.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UnsupportedError
from refmicro.fixedpoint import (
    clamp,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
)
from refmicro.ops._elementwise import (
    MAX_RANK,
    multiplier_below_one,
    require_counts,
    require_rank,
    require_same_type,
)
from refmicro.ops._fixed_functions import (
    calculate_input_radius,
    exp_on_negative_values,
    log_of_at_least_one,
)
from refmicro.ops._libm import expf, logf
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import Abi, DType

_DIFFERENCE_BITS = 5
"""Integer bits of a scaled difference to the row's maximum, and of the sum's logarithm."""


@dataclass(frozen=True)
class Scaling:
    """How int8 differences are scaled, and the smallest one that counts."""

    multiplier: int
    shift: int
    reverse_multiplier: int
    reverse_shift: int
    smallest: int

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Scaled differences 0, -1, ... -255, and their exponentials with 12 integer bits."""
        scaled, powers = np.zeros(256, np.int64), np.zeros(256, np.int64)
        _fill_tables(self.multiplier, self.shift, self.smallest, scaled, powers)
        return scaled, powers


@dataclass(frozen=True)
class LogSoftmax:
    """What eval needs; `scaling` is None for float32."""

    depth: int
    scaling: Scaling | None


def prepare(ctx: PrepareContext) -> LogSoftmax:
    """Check types, shapes, scale and zero point, derive the multipliers."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    require_same_type(ctx, x, output)
    ctx.require(
        x.shape == output.shape,
        "input and output must have the same shape",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    require_rank(ctx, MAX_RANK, x)
    ctx.require_shape(len(x.shape) >= 1, "the input must have at least 1 dimension", x.shape)
    ctx.require_shape(x.elements > 0, "the input must hold values", x.shape)
    if x.dtype is DType.FLOAT32:
        return LogSoftmax(x.shape[-1], None)
    ctx.persistent(40 if ctx.build.abi is Abi.LP64 else 28)
    ctx.require(output.scale == 1 / 16, "the output's scale must be 1/16", output.scale)
    ctx.require(output.zero_point == 127, "the output's zero point must be 127", output.zero_point)
    real = min(x.scale * (1 << (31 - _DIFFERENCE_BITS)), (1 << 31) - 1.0)
    ctx.require(real > 1.0, "the input's scale must be above 2^-26", x.scale)
    multiplier, shift = quantize_multiplier(real)
    reverse = multiplier_below_one(
        ctx, "the inverse of the input's scale", (1 << (31 - shift)) / multiplier
    )
    smallest = -calculate_input_radius(_DIFFERENCE_BITS, shift)
    return LogSoftmax(x.shape[-1], Scaling(multiplier, shift, *reverse, smallest))


def evaluate(ctx: EvalContext, data: LogSoftmax) -> None:
    """All rows at once.

    Raises:
        UnsupportedError: for an int8 row that overflows TFLM's sum.
    """
    x = ctx.input(0)
    rows = np.ascontiguousarray(x).reshape(-1, data.depth)
    scaling = data.scaling
    if scaling is None:
        out = _evaluate_float(rows)
    else:
        out = np.empty(rows.shape, np.int8)
        reverse = (scaling.reverse_multiplier, scaling.reverse_shift)
        if not _log_softmax_int8(rows, *scaling.tables, *reverse, scaling.smallest, out):
            raise UnsupportedError(
                "LOG_SOFTMAX: the exponentials of an int8 row must sum to less than 4096",
                hint="TFLM's sum overflows on such a row",
            )
    ctx.set_output(0, out.reshape(x.shape))


def _evaluate_float(rows: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        lowest = np.finfo(np.float32).min
        largest = np.fmax.reduce(rows, axis=1, keepdims=True, initial=lowest)
        sums = np.add.accumulate(expf(rows - largest), axis=1)[:, -1:]
        return (rows - largest) - logf(sums)


@jit
def _fill_tables(multiplier, shift, smallest, scaled, powers):
    for i in range(scaled.size):
        if -i >= smallest:
            scaled[i] = multiply_by_quantized_multiplier(-i, multiplier, shift)
            powers[i] = rounding_divide_by_pot(exp_on_negative_values(scaled[i], 5), 12)


@jit
def _log_softmax_int8(x, scaled, powers, reverse_multiplier, reverse_shift, smallest, out):
    """Whether every row's sum of exponentials fits int32."""
    for row in range(x.shape[0]):
        largest = np.int64(-128)
        for i in range(x.shape[1]):
            largest = max(largest, np.int64(x[row, i]))
        total = 0
        for i in range(x.shape[1]):
            total += powers[largest - np.int64(x[row, i])]
        if total >= 1 << 31:
            return False
        log_sum = log_of_at_least_one(total, 12)
        limit = multiply_by_quantized_multiplier(
            log_sum - 2147483648, reverse_multiplier, reverse_shift
        )
        limit = max(smallest - 1, limit)
        for i in range(x.shape[1]):
            difference = np.int64(x[row, i]) - largest
            if difference > limit:
                value = rounding_divide_by_pot(scaled[-difference] - log_sum, 22) + 127
                out[row, i] = clamp(value, -128, 127)
            else:
                out[row, i] = -128
    return True


OP = OpSpec("LOG_SOFTMAX", prepare, evaluate)
