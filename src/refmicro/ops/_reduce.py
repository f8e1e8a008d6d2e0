"""What MEAN, SUM, REDUCE_MAX, REDUCE_MIN and REDUCE_ALL share.

Source: `tensorflow/lite/micro/kernels/reduce{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/reduce.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro._jit import jit
from refmicro.ops._requantize import (
    Requantizer,
    largest_magnitude,
    multiplier_pair,
    requantize_row,
    require_zero_point,
)
from refmicro.ops._spec import BindContext, EvalContext, OpData, PrepareContext, Step
from refmicro.types import INTEGER_LIMITS, DType, Tensor

OP_DATA = OpData(lp64=44, ilp32=44)
"""`OpDataReduce`."""

PARAMS = "TfLiteReducerParams"


@dataclass(frozen=True, eq=False)
class Reduction:
    """What eval needs.

    Attributes:
        axes: dimensions that are reduced, ascending.
        terms: values that make one output.
        requantize: of one column, for quantized means and sums.
    """

    input: Tensor
    output: Tensor
    axes: tuple[int, ...]
    terms: int
    requantize: Requantizer | None = None


def simple_temporaries(ctx: PrepareContext) -> None:
    """`PrepareSimple`: takes input, axis and, for int8, output once more, and checks the axis."""
    x = ctx.input(0)
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    ctx.require_type("axis", ctx.input(1), DType.INT32)
    if x.dtype is DType.INT8:
        ctx.output(0)


def reduction(ctx: PrepareContext, x: Tensor, axis: Tensor, output: Tensor) -> Reduction:
    """The node's axes, after checks that TFLM makes late or not at all."""
    ctx.require_shape(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    rank = len(x.shape)
    axes: set[int] = set()
    # The axes of a scalar are not looked at.
    for value in _axis_values(ctx, axis) if rank else ():
        ctx.require_shape(-rank <= value < rank, f"axes must lie in {-rank}..{rank - 1}", value)
        axes.add(value % rank)
    kept = math.prod(size for i, size in enumerate(x.shape) if i not in axes)
    ctx.require_shape(output.elements == kept, f"output must have {kept} elements", output.elements)
    return Reduction(x, output, tuple(sorted(axes)), x.elements // max(1, kept))


def _axis_values(ctx: PrepareContext, axis: Tensor) -> list[int]:
    if axis.elements == 0:
        return []
    ctx.require(axis.is_constant, "the axis must be constant", "a computed tensor")
    return axis.array().reshape(-1).tolist()


def request_iterators(ctx: PrepareContext, x: Tensor, axis: Tensor) -> None:
    """Scratch for the index of the walk over the input, and for the axes."""
    ctx.scratch(4 * len(x.shape))
    ctx.scratch(4 * axis.elements)


def prepare_mean_or_sum(ctx: PrepareContext, *, mean: bool) -> Reduction:
    """Check types and axes, derive the multiplier; a mean's holds the division."""
    x, output, axis = ctx.input(0), ctx.output(0), ctx.input(1)
    quantized = x.dtype in (DType.INT8, DType.INT16)
    if quantized:
        ctx.scratch(4 * output.elements)
    request_iterators(ctx, x, axis)
    simple_temporaries(ctx)
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8, DType.INT16)
    data = reduction(ctx, x, axis, output)
    if not quantized:
        return data
    require_zero_point(ctx, "input", x)
    require_zero_point(ctx, "output", output)
    ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
    multiplier, shift = multiplier_pair(ctx, x.scale / output.scale)
    if mean:
        ctx.require_shape(data.terms > 0, "input must hold values to take the mean of", x.shape)
        multiplier, shift = _divided(multiplier, shift, data.terms)
    requantize = Requantizer(
        (multiplier,),
        (shift,),
        output.zero_point,
        *INTEGER_LIMITS[output.dtype],
        output.dtype.numpy,
        bound=data.terms * largest_magnitude(x, -x.zero_point),
    )
    return Reduction(x, output, data.axes, data.terms, requantize)


def _divided(multiplier: int, shift: int, terms: int) -> tuple[int, int]:
    """The multiplier divided by the number of terms, with as many bits as its shift allows."""
    more = min(terms.bit_length() - 1, 32, 31 + shift)
    return (multiplier << more) // terms, shift - more


def evaluate_quantized(ctx: EvalContext, data: Reduction) -> None:
    """int32 sums, less the zero point of each term, then one requantization."""
    x = ctx.input(0)
    sums = ordered_sums(x, data.axes, np.int32)
    bias = np.array([-data.input.zero_point * data.terms], np.int64)
    out = data.requantize(sums.reshape(-1, 1), bias)
    ctx.set_output(0, out.reshape(x.shape[0], *data.output.shape))


def bind_quantized(ctx: BindContext, data: Reduction) -> list[Step] | None:
    """`evaluate_quantized` in one call, where what is summed lies together or a step apart."""
    shape = _folded(data.input.shape, data.axes)
    if data.requantize is None or shape is None:
        return None
    x, out = ctx.input(0), ctx.output(0)
    if x.shape[0] != ctx.rows or x.size == 0:
        return None
    bias = np.full(shape[2], -data.input.zero_point * data.terms, np.int64)
    terms = data.requantize.broadcast(bias.size).row_terms(bias)
    arguments = (x.reshape(-1, *shape[1:]), terms, out.reshape(-1, bias.size))
    return [(_requantized_sums.ready, arguments)]


def _folded(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(outer, terms, inner) where the axes are neighbours."""
    if not axes or axes != tuple(range(axes[0], axes[-1] + 1)):
        return None
    outer, inner = shape[: axes[0]], shape[axes[-1] + 1 :]
    return math.prod(outer), math.prod(shape[i] for i in axes), math.prod(inner)


@jit
def _requantized_sums(x, terms, out):
    sums = np.empty(x.shape[2], np.int32)
    for row in range(out.shape[0]):
        if sums.size == 1:
            total = np.int32(0)
            for k in range(x.shape[1]):
                total = np.int32(total + np.int32(x[row, k, 0]))
            sums[0] = total
        else:
            sums[:] = 0
            for k in range(x.shape[1]):
                for i in range(sums.size):
                    sums[i] += x[row, k, i]
        requantize_row(sums, terms, out[row])


def terms_first(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(B, *shape) as (B, terms, outputs), terms in the order of the walk over the input."""
    kept = [i for i in range(x.ndim - 1) if i not in axes]
    moved = x.transpose(0, *(i + 1 for i in axes), *(i + 1 for i in kept))
    outputs = math.prod(x.shape[i + 1] for i in kept)
    return np.ascontiguousarray(moved).reshape(x.shape[0], -1, outputs)


def ordered_sums(x: np.ndarray, axes: tuple[int, ...], dtype: type) -> np.ndarray:
    """Sums over `axes` in the order of the input, each step rounded or wrapped to `dtype`.

    Returns:
        Shape (B, outputs).
    """
    terms = terms_first(x, axes)
    out = np.zeros((terms.shape[0], terms.shape[2]), dtype)
    _ordered_sums(terms, out)
    return out


@jit
def _ordered_sums(terms, out):
    for n in range(out.shape[0]):
        sums = out[n]
        for i in range(terms.shape[1]):
            values = terms[n, i]
            for k in range(sums.size):
                sums[k] += values[k]
