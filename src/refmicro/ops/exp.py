"""EXP: output = e^x.

Shapes: input and output have the same shape.
Quantization: none; float32 only.
Source: `tensorflow/lite/micro/kernels/exp.cc`; `expf` as in `_libm.py`.
"""

from __future__ import annotations

from refmicro.ops._elementwise import Map, evaluate_single
from refmicro.ops._float_function import prepare_function
from refmicro.ops._libm import expf
from refmicro.ops._spec import OpSpec, PrepareContext


def prepare(ctx: PrepareContext) -> Map:
    """Check type and shapes."""
    return prepare_function(ctx, expf, same_shape=True)


OP = OpSpec("EXP", prepare, evaluate_single)
