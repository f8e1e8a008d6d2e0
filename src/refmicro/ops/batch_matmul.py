"""BATCH_MATMUL: output = clamp(requantize(sum_k (a[m, k] - za) * (b[k, n] - zb)) + zo).

Shapes: a (..., M, K), or (..., K, M) where `adj_x`; b (..., K, N), or (..., N, K) where `adj_y`;
2 to 5 dimensions; leading dimensions broadcast; output (..., M, N). Both may be computed.
Quantization: int8, int16 with zero points 0 and int64 sums, float32. The multiplier comes from a
double product of scales (decision 0004). No activation.
Persistent: 28 bytes for quantized types; a transposed copy of a where `adj_x` and of b where not
`adj_y`, each with its dimensions (4 + 4 * rank) and a `TfLiteEvalTensor`; 4 + 4 * rank for the
output's dimensions, which TFLM computes and writes.
Differs: an output that is declared with other dimensions than computed is refused, even where the
number of elements agrees. int8 sums that overflow int32 wrap. Which NaN a float is, is not
promised.
Source: `tensorflow/lite/micro/kernels/batch_matmul{,_common}.cc`,
`tensorflow/lite/kernels/internal/reference/batch_matmul.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refmicro import _gemm
from refmicro._jit import jit
from refmicro.ops._requantize import (
    Requantizer,
    largest_magnitude,
    multiplier_pair,
    requantize_row,
    require_zero_point,
)
from refmicro.ops._spec import (
    BindContext,
    EvalContext,
    Node,
    OpData,
    OpSpec,
    PrepareContext,
    Step,
)
from refmicro.types import INTEGER_LIMITS, Abi, DType, Tensor

_QUANTIZATION_BYTES = 28
_EVAL_TENSOR_BYTES = {Abi.LP64: 24, Abi.ILP32: 12}
_FEW_OUTPUTS = 1 << 12
"""Up to so many outputs of one product, sums are requantised together."""

_NO_LIMITS = np.float32(-np.inf), np.float32(np.inf)


@dataclass(frozen=True)
class BatchMatMul:
    """What eval needs; `requantize` is None for float32.

    Attributes:
        adj_x, adj_y: whether the two last dimensions of each operand change places.
        leading: broadcast leading dimensions.
        bound: of a sum of magnitudes, zero points subtracted.
    """

    left: Tensor
    right: Tensor
    output: Tensor
    adj_x: bool
    adj_y: bool
    leading: tuple[int, ...]
    bound: int
    requantize: Requantizer | None


def prepare(ctx: PrepareContext) -> BatchMatMul:
    """Check types and shapes, request copies, derive the multiplier."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    left, right, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("input", left, DType.FLOAT32, DType.INT8, DType.INT16)
    for what, tensor in (("both inputs", right), ("input and output", output)):
        ctx.require(
            tensor.dtype is left.dtype,
            f"{what} must have one type",
            f"{left.dtype} and {tensor.dtype}",
        )
    for what, tensor in (("left", left), ("right", right)):
        rank = len(tensor.shape)
        ctx.require(2 <= rank <= 5, f"the {what} input must have 2 to 5 dimensions", rank)
    adj_x, adj_y = bool(ctx.options.get("adj_x", False)), bool(ctx.options.get("adj_y", False))
    if left.dtype is not DType.FLOAT32:
        ctx.persistent(_QUANTIZATION_BYTES)
    for copied, tensor in ((adj_x, left), (not adj_y, right)):
        if copied:
            ctx.persistent(_EVAL_TENSOR_BYTES[ctx.build.abi])
            ctx.persistent(4 + 4 * len(tensor.shape))
            ctx.persistent(tensor.nbytes)
    requantize = None if left.dtype is DType.FLOAT32 else _requantizer(ctx, left, right, output)
    leading, depth = _check_shapes(ctx, left, right, output, adj_x, adj_y)
    ctx.persistent(4 + 4 * len(output.shape))
    bound = depth
    if requantize is not None:
        bound *= largest_magnitude(left, -left.zero_point)
        bound *= largest_magnitude(right, -right.zero_point)
        requantize = requantize.within(bound)
    return BatchMatMul(left, right, output, adj_x, adj_y, leading, bound, requantize)


def _requantizer(ctx: PrepareContext, left: Tensor, right: Tensor, output: Tensor) -> Requantizer:
    if left.dtype is DType.INT16:
        for what, tensor in (("left input", left), ("right input", right), ("output", output)):
            ctx.require(
                tensor.zero_point == 0,
                f"the {what}'s zero point must be 0 for int16",
                tensor.zero_point,
            )
    for what, tensor in (("left input", left), ("right input", right), ("output", output)):
        require_zero_point(ctx, what, tensor)
    ctx.require_shape(output.scale > 0, "output must have a scale above 0", output.scale)
    wide = left.dtype is DType.INT16
    multiplier, shift = multiplier_pair(ctx, left.scale * right.scale / output.scale, wide=wide)
    limits = INTEGER_LIMITS[output.dtype]
    pair = (multiplier,), (shift,)
    return Requantizer(*pair, output.zero_point, *limits, output.dtype.numpy, wide)


def _check_shapes(
    ctx: PrepareContext, left: Tensor, right: Tensor, output: Tensor, adj_x: bool, adj_y: bool
) -> tuple[tuple[int, ...], int]:
    """(broadcast leading dimensions, depth)."""
    rank = max(len(left.shape), len(right.shape))
    extended = [(1,) * (rank - len(t.shape)) + t.shape for t in (left, right)]
    for a, b in zip(*(shape[:-2] for shape in extended), strict=True):
        ctx.require(a == b or 1 in (a, b), "leading dimensions must broadcast", f"{a} and {b}")
    leading = tuple(
        b if a == 1 else a for a, b in zip(*(shape[:-2] for shape in extended), strict=True)
    )
    rows, depth = _matrix(left.shape, adj_x)
    inner, columns = _matrix(right.shape, adj_y)
    ctx.require(depth == inner, "both inputs must have one depth", f"{depth} and {inner}")
    shape = (*leading, rows, columns)
    ctx.require(output.shape == shape, f"output must be of shape {list(shape)}", list(output.shape))
    return leading, depth


def _matrix(shape: Sequence[int], swapped: bool) -> tuple[int, int]:
    return (shape[-1], shape[-2]) if swapped else (shape[-2], shape[-1])


def evaluate(ctx: EvalContext, data: BatchMatMul) -> None:
    """One product for each matrix of the batch and of the leading dimensions."""
    a = _operand(ctx.input(0), data.adj_x, data.leading)
    b = _operand(ctx.input(1), data.adj_y, data.leading)
    batch = max(a.shape[0], b.shape[0])
    if data.requantize is None:
        out = _float_product(a, b)
    else:
        dtype = _gemm.accumulator_dtype(data.bound)
        a = a.astype(dtype) - dtype.type(data.left.zero_point)
        b = b.astype(dtype) - dtype.type(data.right.zero_point)
        out = data.requantize(_gemm.matmul(a, b, data.bound).reshape(-1, 1))
    ctx.set_output(0, out.reshape(batch, *data.output.shape))


def bind(ctx: BindContext, data: BatchMatMul) -> list[Step] | None:
    """One call for all matrices, where none is used twice and they are small."""
    a, b, out = ctx.input(0), ctx.input(1), ctx.output(0)
    alone = data.left.shape[:-2] == data.right.shape[:-2] and len(a) == len(b) == ctx.rows
    size = math.prod(data.output.shape[-2:])
    if data.requantize is None or not alone or not 0 < size <= _FEW_OUTPUTS or not a.size:
        return None
    a, b = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    a = a.swapaxes(1, 2) if data.adj_x else a
    b = b if data.adj_y else b.swapaxes(1, 2)
    terms = data.requantize.broadcast(size).row_terms()
    points = data.left.zero_point, data.right.zero_point
    return [(_products.ready, (a, b, *points, terms, out.reshape(-1, *out.shape[-2:])))]


@jit
def _products(a, b, a_zero_point, b_zero_point, terms, out):
    """Sums over the last axis of a, (matrices, rows, depth), and of b, (matrices, columns, depth).

    Both are copied to 32 bits that lie together; so many has a product of two values.
    """
    depth, columns = a.shape[2], b.shape[1]
    left, right = np.empty(depth, np.int32), np.empty((columns, depth), np.int32)
    sums = np.empty((a.shape[1], columns), np.int64)
    for n in range(out.shape[0]):
        for column in range(columns):
            for k in range(depth):
                right[column, k] = np.int64(b[n, column, k]) - b_zero_point
        for row in range(a.shape[1]):
            for k in range(depth):
                left[k] = np.int64(a[n, row, k]) - a_zero_point
            for column in range(columns):
                values, total = right[column], 0
                for k in range(depth):
                    total += np.int64(np.int32(left[k] * values[k]))
                sums[row, column] = total
        requantize_row(sums.reshape(-1), terms, out[n].reshape(-1))


def _operand(x: np.ndarray, swapped: bool, leading: tuple[int, ...]) -> np.ndarray:
    """(B, ..., rows, columns) with as many dimensions as the output."""
    x = x.swapaxes(-1, -2) if swapped else x
    missing = len(leading) + 3 - x.ndim
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:])


def _float_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums in the order of depth."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*leading, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
    b = np.broadcast_to(b, (*leading, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    return _gemm.float_matmul(a, b, np.zeros((1, b.shape[2]), np.float32), _NO_LIMITS)


def macs(node: Node) -> int:
    """Every output element sums as many products as the depth."""
    depth = node.inputs[0].shape[-2 if node.options.get("adj_x", False) else -1]
    return node.outputs[0].elements * depth


OP = OpSpec(
    "BATCH_MATMUL",
    prepare,
    evaluate,
    OpData(lp64=32, ilp32=16, cmsis_nn=36),
    params="TfLiteBatchMatMulParams",
    macs=macs,
    bind=bind,
)
