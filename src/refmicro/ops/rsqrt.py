"""RSQRT: output = 1 / sqrt(x).

Shapes: input and output have as many elements.
Quantization: int8 by Newton's iteration in fixed point, the zero point gives the largest output;
float32. The multiplier comes from doubles (the source read here takes float32 steps, the pinned
wheel does not). An int8 input below its zero point ends the invocation with an error, as in TFLM.
Differs: ratios of scales that would shift by more than 31 bits are refused.
Source: `tensorflow/lite/micro/kernels/elementwise.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.errors import UnsupportedError
from refmicro.fixedpoint import clamp, multiply_by_quantized_multiplier
from refmicro.ops._elementwise import Lookup, Map, evaluate_single
from refmicro.ops._fixed_functions import inverse_square_root
from refmicro.ops._requantize import multiplier_pair
from refmicro.ops._rescale import OP_DATA, prepare_rescaled
from refmicro.ops._spec import BindContext, EvalContext, OpSpec, PrepareContext, Step
from refmicro.types import DType

_SHIFT = 20
"""Bits that keep 1 / sqrt(x) an integer."""


@dataclass(frozen=True)
class Rsqrt:
    """The operator and the smallest input that it takes, None for float32."""

    compute: Lookup | Map
    lowest: int | None


def prepare(ctx: PrepareContext) -> Rsqrt:
    """Check types, shapes and quantization, derive the multiplier."""
    x, output, quantized = prepare_rescaled(ctx, DType.FLOAT32, DType.INT8)
    if not quantized:
        return Rsqrt(Map(output.shape, _rsqrt), None)
    product = math.sqrt(x.scale) * output.scale
    ctx.require_shape(product > 0, "input and output must have scales above 0", x.scale)
    multiplier, shift = multiplier_pair(ctx, 1.0 / product)
    ctx.require_shape(
        shift - _SHIFT >= -31, "the square root of the scales must be below 2^11", product
    )
    arguments = (x.zero_point, multiplier, shift, output.zero_point)
    return Rsqrt(Lookup.of_kernel(x, output, _rsqrt_int8, arguments), x.zero_point)


def evaluate(ctx: EvalContext, data: Rsqrt) -> None:
    """Refuses inputs below the zero point.

    Raises:
        UnsupportedError: for such an input; TFLM's Invoke returns an error.
    """
    if data.lowest is not None:
        _require_lowest(ctx.input(0), data.lowest)
    evaluate_single(ctx, data.compute)


def bind(ctx: BindContext, data: Rsqrt) -> list[Step] | None:
    """A look-up after the same check."""
    steps = data.compute.bind(ctx) if data.lowest is not None else None
    return None if steps is None else [(_require_lowest, (ctx.input(0), data.lowest)), *steps]


def _require_lowest(x: np.ndarray, lowest: int) -> None:
    found = _least(x.reshape(-1))
    if found < lowest:
        raise UnsupportedError(
            f"RSQRT: inputs must not be below the zero point {lowest}: {found}",
            hint="TFLM's Invoke fails on such an input; quantize the input so that it cannot occur",
        )


@jit
def _least(x):
    found = np.int64(127)
    for value in x:
        found = min(found, np.int64(value))
    return found


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / np.sqrt(x)


@jit
def _rsqrt_int8(x, zero_point, multiplier, shift, output_zero_point, out):
    for i in range(out.size):
        value = np.int64(x[i]) - zero_point
        if value <= 0:
            out[i] = 127
        else:
            root, right_shift = inverse_square_root(value)
            value = multiply_by_quantized_multiplier(1, root, _SHIFT - right_shift)
            value = multiply_by_quantized_multiplier(value, multiplier, shift - _SHIFT)
            out[i] = clamp(value + output_zero_point, -128, 127)


OP = OpSpec("RSQRT", prepare, evaluate, OP_DATA, bind=bind)
