"""What LOGISTIC and TANH share: how their quantized inputs are scaled.

Source: `CalculateArithmeticOpDataLogistic` in `tensorflow/lite/micro/kernels/logistic_common.cc`,
`CalculateArithmeticOpData` in `tanh.cc` beside it.
"""

from __future__ import annotations

import math

from refmicro.fixedpoint import round_half_away
from refmicro.ops._elementwise import require_scale, require_zero_points
from refmicro.ops._fixed_functions import calculate_input_radius, checked_log2, sigmoid_table
from refmicro.ops._spec import PrepareContext
from refmicro.types import Tensor

_INTEGER_BITS = 4


def int8_arguments(ctx: PrepareContext, x: Tensor) -> tuple[int, int, int, int]:
    """(zero point, radius, multiplier, shift) that bring an int8 input to 4 integer bits."""
    fraction, shift = math.frexp(x.scale * (1 << (31 - _INTEGER_BITS)))
    ctx.require_shape(0 <= shift <= 62, "the input's scale must be in 2^-28..2^35", x.scale)
    require_zero_points(ctx, x)
    radius = calculate_input_radius(_INTEGER_BITS, shift)
    return x.zero_point, radius, round_half_away(fraction * (1 << 31)), shift


def int16_arguments(ctx: PrepareContext, x: Tensor, output: Tensor, largest_power: int) -> tuple:
    """(multiplier, shift, table) that bring an int16 input to 1/(3 * 4096), where the table is.

    Scales of 2^-12 to 2^(largest_power - 12) are taken exactly.
    """
    for tensor in (x, output):
        ctx.require(tensor.zero_point == 0, "int16 zero points must be 0", tensor.zero_point)
    require_scale(ctx, "input", x)
    require_scale(ctx, "output", output)
    log2, exact = checked_log2(output.scale)
    ctx.require(exact and log2 == -15, "the output's scale must be 2^-15", output.scale)
    log2, exact = checked_log2(x.scale)
    if exact and 0 <= log2 + 12 <= largest_power:
        return 3 << (log2 + 12), 0, sigmoid_table()
    multiplier, shift = x.scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        multiplier *= 2.0
    ctx.require_shape(1 <= multiplier < 2**31, "the input's scale must be in 2^-44..2^17", x.scale)
    return int(multiplier), shift, sigmoid_table()
