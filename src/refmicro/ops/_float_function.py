"""The Prepare of operators that apply one float32 function to each element.

Source: `GenericPrepare` in `tensorflow/lite/micro/kernels/elementwise.cc`, `exp.cc`, `ceil.cc` and
`round.cc` beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refmicro.ops._elementwise import (
    Map,
    require_counts,
    require_same_elements,
    require_same_type,
)
from refmicro.ops._spec import PrepareContext
from refmicro.types import DType


def prepare_function(
    ctx: PrepareContext,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    same_shape: bool = False,
) -> Map:
    """Check types and shapes; `same_shape` where TFLM asks for the same dimensions."""
    require_counts(ctx, 1)
    x, output = ctx.input(0), ctx.output(0)
    ctx.require_type("input", x, DType.FLOAT32)
    require_same_type(ctx, x, output)
    if same_shape:
        ctx.require(
            x.shape == output.shape,
            "input and output must have the same shape",
            f"{list(x.shape)} and {list(output.shape)}",
        )
    require_same_elements(ctx, x, output)
    return Map(output.shape, function)
