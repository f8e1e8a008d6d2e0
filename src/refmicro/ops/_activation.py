"""Fused activations: the integer range or the float range that an output is clamped to.

Source: `CalculateActivationRangeQuantized` in `tensorflow/lite/kernels/kernel_util.cc` and
`CalculateActivationRange` in its header.
"""

from __future__ import annotations

import numpy as np

from refmicro.fixedpoint import round_half_away
from refmicro.ops._spec import Refused
from refmicro.types import INTEGER_LIMITS, DType, Tensor

NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)

_LIMITS = {RELU: (0.0, None), RELU6: (0.0, 6.0), RELU_N1_TO_1: (-1.0, 1.0)}


def quantized_range(activation: int, output: Tensor) -> tuple[int, int]:
    """(low, high) of a quantized output; activations without a range (TANH) count as none.

    Raises:
        Refused: for an output type without one, or a scale that drives a limit out of int32.
    """
    if output.dtype not in (DType.INT8, DType.UINT8, DType.INT16):
        raise Refused("a quantized output must be int8, uint8 or int16", str(output.dtype))
    low, high = INTEGER_LIMITS[output.dtype]
    real_low, real_high = _LIMITS.get(activation, (None, None))
    if real_low is not None:
        low = max(low, _quantize(real_low, output))
    if real_high is not None:
        high = min(high, _quantize(real_high, output))
    return low, high


def _quantize(real: float, output: Tensor) -> int:
    """Nearest quantized value; the quotient is a float32 one."""
    scale = np.float32(output.scale)
    if scale == 0:
        raise Refused("an output with an activation must have a scale above 0", "0.0")
    quotient = float(np.float32(real) / scale)
    if not -(2.0**31) <= quotient <= 2.0**31:
        raise Refused("an activation's limit must fit int32 in the output's scale", str(quotient))
    return output.zero_point + round_half_away(quotient)


def float_range(activation: int) -> tuple[np.float32, np.float32]:
    """(low, high) of a float output."""
    limits = np.finfo(np.float32)
    low, high = _LIMITS.get(activation, (None, None))
    return (
        limits.min if low is None else np.float32(low),
        limits.max if high is None else np.float32(high),
    )
