"""What operators share that multiply an input with a filter, sum, add a bias and requantize.

Inputs are multiplied as they are: the input's zero point times the sum of the filter is folded into
the bias, which gives the same sum of integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro import _gemm
from refmicro.ops._requantize import Requantizer, largest_magnitude
from refmicro.ops._spec import PrepareContext
from refmicro.types import DType, Tensor

BLOCK_BYTES = 1 << 20
"""Rows are worked on in blocks whose inputs and sums stay in the second-level cache."""

LAST_TENSOR_TYPE = 22
"""The highest code of the schema's `TensorType` that TFLM's parser knows (FLOAT8_E5M2)."""


def blocks(count: int, item_bytes: int) -> Iterator[slice]:
    """Slices that divide `count` items into blocks of about `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // max(1, item_bytes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def require_type_option(ctx: PrepareContext, name: str) -> None:
    """An option that names a type; the parser refuses a number that names none."""
    value = ctx.options.get(name, 0)
    ctx.require(0 <= value <= LAST_TENSOR_TYPE, f"option {name} must name a tensor type", value)


def require_packed_constant(ctx: PrepareContext, w: Tensor) -> None:
    """An int4 filter must be constant: TFLM plans a byte an element for a computed one, and then
    reads two values from each byte."""
    packed = w.dtype is DType.INT4
    ctx.require(not packed or w.is_constant, "an int4 filter must be constant", "computed")


def require_bias(ctx: PrepareContext, bias: Tensor | None, channels: int, *dtypes: DType) -> None:
    """A bias has one value a channel, of a type that TFLM then reads without looking."""
    if bias is None:
        return
    names = " or ".join(str(dtype) for dtype in dtypes)
    ctx.require_shape(bias.dtype in dtypes, f"bias must be {names}", bias.dtype)
    ctx.require_shape(bias.elements >= channels, f"bias must have {channels} values", bias.elements)


@dataclass(frozen=True)
class Product:
    """Sums of `depth` products for each of `channels` outputs.

    Attributes:
        input, filter, bias, output: the node's tensors.
        depth, channels: terms of one sum, and how many sums share them.
        input_zero_point: subtracted from inputs; an operator that ignores it gives 0.
        filter_offset: added to filter values.
        requantize: None for float32.
        float_limits: smallest and largest output for float32.
    """

    input: Tensor
    filter: Tensor
    bias: Tensor | None
    output: Tensor
    depth: int
    channels: int
    input_zero_point: int
    filter_offset: int
    requantize: Requantizer | None
    float_limits: tuple[np.float32, np.float32]

    def arrange(self, values: np.ndarray) -> np.ndarray:
        """Filter values of shape (B, *filter shape) as (B, depth, channels).

        This one is for filters of shape (..., depth) with a row for each channel.
        """
        rows = values.reshape(values.shape[0], -1, self.depth)[:, : self.channels]
        return rows.swapaxes(1, 2)

    @cached_property
    def weights(self) -> np.ndarray:
        """The constant filter with its offset: (depth, channels), int16 or float32."""
        values = self.arrange(self.filter.array()[None])[0]
        if self.requantize is not None:
            values = values.astype(np.int16) + self.filter_offset
        return np.ascontiguousarray(values)

    @cached_property
    def magnitude(self) -> int:
        """Bound of the sum of filter magnitudes over one output."""
        if not self.filter.is_constant:
            return self.depth * largest_magnitude(self.filter, self.filter_offset)
        return int(np.abs(self.weights.astype(np.int64)).sum(0).max(initial=0))

    @cached_property
    def raw_bound(self) -> int:
        """Bound of a sum of products of inputs as they are."""
        return self.magnitude * largest_magnitude(self.input)

    @cached_property
    def bound(self) -> int:
        """Bound of a sum of products of inputs less their zero point, bias not included."""
        return self.magnitude * largest_magnitude(self.input, -self.input_zero_point)

    @cached_property
    def typed_weights(self) -> np.ndarray:
        """Constant weights in the type of the exact product."""
        return self.weights.astype(_gemm.accumulator_dtype(self.raw_bound))

    @property
    def has_computed_bias(self) -> bool:
        """Whether the graph computes the bias, so that each row of a batch has its own."""
        return self.bias is not None and not self.bias.is_constant

    @cached_property
    def constant_bias(self) -> np.ndarray:
        """Constant bias as int64 of shape (channels,), zeros where there is none."""
        if self.bias is None or not self.bias.is_constant:
            return np.zeros(self.channels, np.int64)
        return self.bias.array().reshape(-1)[: self.channels].astype(np.int64)

    @cached_property
    def folded_bias(self) -> np.ndarray:
        """Constant bias less the input's zero point times the constant filter, int64."""
        return self.constant_bias - self.input_zero_point * self.weights.astype(np.int64).sum(0)

    @cached_property
    def bounded(self) -> Requantizer:
        """The requantizer, knowing how large sums get."""
        bias = int(np.abs(self.constant_bias).max(initial=0))
        if self.has_computed_bias:
            bias = 1 << 63 if self.bias.dtype is DType.INT64 else 1 << 31
        return self.requantize.within(self.bound + bias)

    @cached_property
    def has_bytes(self) -> bool:
        """Whether all is int8 and constant, and kernels may multiply bytes and requantise them."""
        types = self.input.dtype, self.output.dtype
        if types != (DType.INT8, DType.INT8) or not self.filter.is_constant:
            return False
        if self.has_computed_bias or self.requantize is None or self.requantize.wide:
            return False
        least, most = self.weights.min(initial=0), self.weights.max(initial=0)
        return least >= -128 and most <= 127 and self.requantize.rescale.is_supported

    def computed_weights(self, values: np.ndarray) -> np.ndarray:
        """Filter values that the graph computed, with their offset: (B, depth, channels)."""
        weights = self.arrange(values).astype(_gemm.accumulator_dtype(self.bound))
        weights += self.filter_offset
        return weights

    def finish(
        self,
        sums: np.ndarray,
        folded: np.ndarray,
        computed_bias: np.ndarray | None,
    ) -> np.ndarray:
        """Outputs of shape (R, channels).

        Args:
            sums: sums of products, integer-valued, shape (R, channels) of all rows of the batch.
            folded: bias to add, int64 of shape (channels,).
            computed_bias: the values of a bias that the graph computes, with a batch axis.
        """
        if computed_bias is None:
            return self.bounded(sums, folded)
        bias = computed_bias.reshape(computed_bias.shape[0], 1, -1)[:, :, : self.channels]
        totals = sums.astype(np.int64).reshape(bias.shape[0], -1, self.channels) + bias
        return self.bounded(totals.reshape(-1, self.channels), folded)
