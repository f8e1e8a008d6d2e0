"""SignalFilterBankSquareRoot: rounded roots of 64-bit values, shifted back."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import around, parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = sqrt(x) >> scale bits; bits beyond 31 count as 31."""
    output = op.output()
    line = "output[i] = rounded_root(input[i]) >> clamp(scale_bits[0], 0, 31);"
    parameters = [parameter(op.input(0), "input"), parameter(op.input(1), "scale_bits")]
    body = around(output.tensor.elements, line)
    op.kernel([*parameters, parameter(output, "output", write=True)], body)
