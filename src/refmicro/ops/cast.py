"""CAST: output = x in another type.

Shapes: input and output have as many elements.
Quantization: scales are ignored. bool, int8, int16, int32, uint32, float32, each to each. Integers
keep their low bits; floats are cut towards 0 and saturate, a NaN becomes 0; to bool, all but 0 is
true.
The source read here has no bool output and leaves floats that do not fit undefined; this is what
the pinned wheel does.
Source: `tensorflow/lite/micro/kernels/cast.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.ops._elementwise import evaluate_single, require_counts, require_same_elements
from refmicro.ops._movement import bind_view
from refmicro.ops._product import require_type_option
from refmicro.ops._spec import BindContext, OpSpec, PrepareContext, Step
from refmicro.types import DType

_TYPES = (DType.BOOL, DType.INT8, DType.INT16, DType.INT32, DType.UINT32, DType.FLOAT32)


@dataclass(frozen=True)
class Cast:
    """Shape and type of the output."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Results of shape (B, *shape)."""
        if x.dtype == np.float32 and self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            x = np.where(np.isnan(x), 0.0, x.astype(np.float64)).clip(limits.min, limits.max)
        return x.astype(self.dtype).reshape(x.shape[0], *self.shape)

    def bind(self, ctx: BindContext) -> list[Step] | None:
        """The same memory where bits stay, else NumPy's conversion, which cuts integers alike."""
        x = ctx.input(0)
        if x.dtype == self.dtype or (
            x.dtype.itemsize == self.dtype.itemsize
            and x.dtype.kind + self.dtype.kind in ("iu", "ui")
        ):
            return bind_view(ctx, 0, 0, x.view(self.dtype), self.shape)
        if x.dtype.kind == "f":
            return None
        out = ctx.output(0)
        return [(np.copyto, (out, x.reshape(-1, *self.shape), "unsafe"))]


def prepare(ctx: PrepareContext) -> Cast:
    """Check types and shapes."""
    require_type_option(ctx, "in_data_type")
    require_type_option(ctx, "out_data_type")
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, *_TYPES)
    ctx.require_type("output", output, *_TYPES)
    require_same_elements(ctx, x, output)
    return Cast(output.shape, output.dtype.numpy)


OP = OpSpec("CAST", prepare, evaluate_single, params="TfLiteCastParams")
