"""What SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND share: each output pixel is an input pixel or blank.

Source: `tensorflow/lite/kernels/internal/reference/{space_to_batch_nd,batch_to_space_nd}.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._movement import distinct_rows, known_or_computed
from refmicro.ops._spec import EvalContext, PrepareContext
from refmicro.types import DType

Shape4 = tuple[int, int, int, int]


@dataclass(frozen=True)
class Geometry:
    """How pixels move: shapes as (batch, height, width, depth), block sizes, corner offsets."""

    shape: Shape4
    output_shape: Shape4
    block: tuple[int, int]
    corner: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """What tells the two operators apart.

    Attributes:
        name: the operator.
        offsets: name of its third input.
        misfit: why a geometry does not fit, empty where it does; blocks are at least 1.
        pixels: for each output pixel the input pixel, or -1 for a blank one.
    """

    name: str
    offsets: str
    misfit: Callable[[Geometry], str]
    pixels: Callable[[Geometry], np.ndarray]


@dataclass(frozen=True)
class Blocks:
    """Shapes with 4 dimensions, width 1 where the tensors have 3.

    `declared` is the output's own shape; block sizes and offsets are None where the graph computes
    them, and `geometry` is where it computes any.
    """

    shape: Shape4
    output_shape: Shape4
    declared: tuple[int, ...]
    layout: Layout
    blocks: tuple[int, ...] | None
    offsets: tuple[int, ...] | None
    geometry: Geometry | None

    @cached_property
    def pixels(self) -> np.ndarray:
        """For each output pixel the input pixel or -1, of the constant geometry."""
        return self.layout.pixels(self.geometry).reshape(-1)


def prepare_blocks(ctx: PrepareContext, layout: Layout) -> Blocks:
    """The checks of both operators."""
    ctx.require(len(ctx.node.inputs) == 3, "must have 3 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))
    x, output = ctx.input(0), ctx.output(0)
    for name, tensor in (("input", x), ("output", output)):
        ctx.require(
            len(tensor.shape) in (3, 4), f"{name} must have 3 or 4 dimensions", len(tensor.shape)
        )
    ctx.require(
        x.dtype is output.dtype,
        "input and output must have one type",
        f"{x.dtype} and {output.dtype}",
    )
    ctx.require_type("input", x, DType.FLOAT32, DType.INT8)
    ctx.require_shape(
        len(x.shape) == len(output.shape) and x.shape[-1] == output.shape[-1],
        "input and output must have as many dimensions and the same last one",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    block, offsets = ctx.node.input(1), ctx.node.input(2)
    ctx.require_shape(block is not None, "block_shape must be present", "absent")
    ctx.require_shape(offsets is not None, f"{layout.offsets} must be present", "absent")
    blocks = known_or_computed(ctx, "block_shape", block, len(x.shape) - 2)
    corners = known_or_computed(ctx, layout.offsets, offsets, 2 * len(x.shape) - 5)
    shapes = _extended(x.shape), _extended(output.shape), output.shape
    data = Blocks(*shapes, layout, blocks, corners, None)
    if blocks is None or corners is None:
        return data
    geometry = _geometry(data, (*blocks, *corners))
    misfit = _misfit(layout, geometry)
    ctx.require_shape(not misfit, "blocks must fit the tensors", misfit)
    return replace(data, geometry=geometry)


def _extended(shape: tuple[int, ...]) -> Shape4:
    return shape if len(shape) == 4 else (shape[0], shape[1], 1, shape[2])


def _geometry(data: Blocks, values: tuple[int, ...]) -> Geometry:
    """From block sizes, then offsets (top, bottom, left), or one of each without width."""
    if len(data.declared) == 4:
        block, corner = (values[0], values[1]), (values[2], values[4])
    else:
        block, corner = (values[0], 1), (values[1], 0)
    return Geometry(data.shape, data.output_shape, block, corner)


def _misfit(layout: Layout, geometry: Geometry) -> str:
    if min(geometry.block) < 1:
        return f"block_shape {list(geometry.block)}"
    reach = [
        size * block for size, block in zip(geometry.output_shape[1:3], geometry.block, strict=True)
    ]
    if max(reach) >= 2**31:
        return f"block_shape {list(geometry.block)}, beyond 32 bits"
    return layout.misfit(geometry)


def evaluate_blocks(ctx: EvalContext, data: Blocks) -> None:
    """Copy pixels; blank ones are zero bytes."""
    x = ctx.input(0)
    pixels = x.reshape(x.shape[0], -1, data.shape[3])
    if data.geometry is not None:
        out = _picked(pixels, data.pixels)
    else:
        spatial = len(data.declared) - 2
        parameters = [
            _parameter(ctx, 1, data.blocks, spatial),
            _parameter(ctx, 2, data.offsets, 2 * spatial - 1),
        ]
        pixels = np.broadcast_to(pixels, (ctx.batch, *pixels.shape[1:]))
        out = np.empty((ctx.batch, np.prod(data.output_shape[:3]), data.shape[3]), x.dtype)
        for values, rows in distinct_rows(ctx.batch, parameters):
            geometry = _geometry(data, values)
            misfit = _misfit(data.layout, geometry)
            if misfit:
                raise UsageError(
                    f"{data.layout.name} blocks must fit the tensors: {misfit}",
                    hint="TFLM does not check this",
                )
            out[rows] = _picked(pixels[rows], data.layout.pixels(geometry).reshape(-1))
    ctx.set_output(0, out.reshape(out.shape[0], *data.declared))


def _parameter(
    ctx: EvalContext, index: int, known: tuple[int, ...] | None, count: int
) -> np.ndarray:
    """The first `count` values of an input for each row."""
    if known is not None:
        return np.array([known])
    values = ctx.input(index)
    return values.reshape(values.shape[0], -1)[:, :count]


def _picked(pixels: np.ndarray, index: np.ndarray) -> np.ndarray:
    out = pixels.take(index, axis=1, mode="wrap")
    out[:, index < 0] = 0
    return out
