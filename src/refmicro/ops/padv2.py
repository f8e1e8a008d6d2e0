"""PADV2: the input with a given value around it.

Shapes: input of up to 5 dimensions, paddings (rank, 2) with counts before and after, a value of one
element, output larger by the paddings' sum in each dimension. Without the value it is PAD.
Quantization: int8, int16, int32, float32; the value has the input's type, and for int8 the output's
scale and zero point. It may be computed.
Differs: negative paddings are refused; TFLM would take values from the wrong places. Paddings must
be int32; TFLM reads other types as if they were.
Source: `tensorflow/lite/micro/kernels/pad{,_common}.cc`.
"""

from __future__ import annotations

from refmicro.ops._pad import OP_DATA, evaluate_pad, prepare_pad
from refmicro.ops._spec import OpSpec

OP = OpSpec("PADV2", prepare_pad, evaluate_pad, OP_DATA)
"""The parser allocates no parameters."""
