"""LOG: output = the natural logarithm of x.

Shapes: input and output have as many elements.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/elementwise.cc`; `logf` as in `_libm.py`.
"""

from __future__ import annotations

from refmicro.ops._elementwise import Map, evaluate_single
from refmicro.ops._float_function import prepare_function
from refmicro.ops._libm import logf
from refmicro.ops._spec import OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    return prepare_function(ctx, logf)


OP = OpSpec("LOG", prepare, evaluate_single)
