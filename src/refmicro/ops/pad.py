"""PAD: the input with the zero point around it.

Shapes: input of up to 5 dimensions, paddings (rank, 2) with counts before and after, output larger
by their sum in each dimension. TFLM registers one kernel for PAD and PADV2, so a third input is
taken as in PADV2.
Quantization: int8 is filled with the output's zero point; int16 and int32 with 0 whatever their
zero point; float32 with 0.0. Values are copied, scales are not compared.
Differs: negative paddings are refused; TFLM would take values from the wrong places. Paddings must
be int32; TFLM reads other types as if they were.
Source: `tensorflow/lite/micro/kernels/pad{,_common}.cc`.
"""

from __future__ import annotations

from refmicro.ops._pad import OP_DATA, evaluate_pad, prepare_pad
from refmicro.ops._spec import OpSpec

OP = OpSpec("PAD", prepare_pad, evaluate_pad, OP_DATA)
"""The parser allocates no parameters."""
