"""What LOGISTIC and TANH share."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import again, around, emit_lookup, parameter
from refmicro.emit.unit import Op
from refmicro.ops._sigmoid import int16_arguments
from refmicro.types import DType


def emit_sigmoid(op: Op, helper: str, *, largest_power: int) -> None:
    """The function of int16 that `helper` is, or a table of int8."""
    (x,), output = op.inputs(1), op.output()
    if x.tensor.dtype is not DType.INT16:
        emit_lookup(op)
        return
    multiplier, shift, table = int16_arguments(again(op), x.tensor, output.tensor, largest_power)
    name = op.unit.constant("sigmoid", table.astype(np.uint16))
    rounding = (1 << shift) >> 1
    scaled = f"wrapped_product(input[i], {multiplier}, {rounding}) >> {shift}"
    body = around(output.tensor.elements, f"output[i] = {helper}({scaled}, table);")
    parameters = [
        parameter(x, "input"),
        ("const uint16_t *", "table", name),
        parameter(output, "output", write=True),
    ]
    op.kernel(parameters, body)
