"""ARG_MAX: index of the first largest value along one axis.

Shapes: axis of one value in -rank..rank-1; output with as many elements as remain.
Quantization: int8 and float32, compared as they are; int32 axis and output. A NaN in first place
stays, one elsewhere is never taken.
Differs: a computed axis is refused. TFLM looks at no shape; shapes that do not fit are refused.
Source: `tensorflow/lite/micro/kernels/arg_min_max.cc`,
`tensorflow/lite/kernels/internal/reference/arg_min_max.h`.
"""

from __future__ import annotations

from refmicro.ops._arg_extremum import ArgExtremum, evaluate_arg_extremum, prepare_arg_extremum
from refmicro.ops._spec import EvalContext, OpSpec


def evaluate(ctx: EvalContext, data: ArgExtremum) -> None:
    """The index of the largest value."""
    evaluate_arg_extremum(ctx, data, largest=True)


OP = OpSpec("ARG_MAX", prepare_arg_extremum, evaluate, params="TfLiteArgMaxParams")
