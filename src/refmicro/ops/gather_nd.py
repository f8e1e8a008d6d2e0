"""GATHER_ND: output[i...] = params[indices[i..., 0], indices[i..., 1], ...].

Shapes: the last dimension of `indices`, at most 5, says how many leading dimensions of `params` are
indexed; the output's shape is indices.shape[:-1] + params.shape[indices.shape[-1]:].
Quantization: float32 and int8, indices int32; bytes are copied.
Persistent: the output's dimensions, 4 + 4 * rank bytes.
Differs: an output of another shape or type is refused; TFLM replaces its shape.
TFLM checks only that the slice lies inside the whole of `params`, so that an index may leave its
dimension as long as the others make up for it; so does this.
Source: `tensorflow/lite/micro/kernels/gather_nd.cc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._movement import require_same_type
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import DType

_MAX_INDEXED = 5


@dataclass(frozen=True)
class GatherNd:
    """`params` seen as (slices, slice_size); a place is the sum of index * stride."""

    slices: int
    slice_size: int
    strides: np.ndarray
    output_shape: tuple[int, ...]

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Which slice each index vector names, outside 0..slices-1 where TFLM refuses."""
        vectors = indices.reshape(math.prod(indices.shape[:-1]), -1)
        return vectors.astype(np.int64) @ self.strides


def prepare(ctx: PrepareContext) -> GatherNd:
    """Check ranks, then the output's shape and constant indices."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    params, indices, output = ctx.input(0), ctx.input(1), ctx.output(0)
    ctx.require_type("params", params, DType.FLOAT32, DType.INT8)
    ctx.require_type("indices", indices, DType.INT32)
    rank = len(params.shape)
    ctx.require(rank >= 1, "params must have at least 1 dimension", rank)
    ctx.require(len(indices.shape) >= 1, "indices must have at least 1 dimension", 0)
    depth = indices.shape[-1]
    ctx.require(
        depth <= min(rank, _MAX_INDEXED),
        f"the last dimension of indices must be at most {min(rank, _MAX_INDEXED)}",
        depth,
    )
    ctx.persistent(4 + 4 * len(output.shape))
    shape = indices.shape[:-1] + params.shape[depth:]
    ctx.require_shape(
        output.shape == shape, f"output must have shape {list(shape)}", list(output.shape)
    )
    require_same_type(ctx, params, output)
    strides = [math.prod(params.shape[axis + 1 : depth]) for axis in range(depth)]
    data = GatherNd(
        math.prod(params.shape[:depth]),
        math.prod(params.shape[depth:]),
        np.array(strides, np.int64),
        output.shape,
    )
    if indices.is_constant:
        places = data.places(indices.array())
        ctx.require(
            bool(((places >= 0) & (places < data.slices)).all()),
            f"indices must stay inside {list(params.shape)}",
            indices.array().tolist(),
        )
    return data


def evaluate(ctx: EvalContext, data: GatherNd) -> None:
    """Copy slices."""
    params, indices = ctx.input(0), ctx.input(1)
    places = data.places(indices).reshape(indices.shape[0], -1)
    if ((places < 0) | (places >= data.slices)).any():
        raise UsageError(
            "GATHER_ND indices must stay inside params: one leaves it",
            hint="TFLM returns an error from Invoke",
        )
    rows = params.reshape(params.shape[0], data.slices, data.slice_size)
    if indices.shape[0] == 1:
        out = rows.take(places[0], axis=1)
    else:
        row = np.arange(params.shape[0])[:, None] if params.shape[0] > 1 else 0
        out = rows[row, places]
    ctx.set_output(0, out.reshape(out.shape[0], *data.output_shape))


OP = OpSpec("GATHER_ND", prepare, evaluate)
