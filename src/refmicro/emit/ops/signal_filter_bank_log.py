"""SignalFilterBankLog: natural logarithms by a table of 129 values."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op
from refmicro.ops.signal_filter_bank_log import _table


def emit(op: Op) -> None:
    """output = ln(x) * scale, 0 for values up to 1."""
    data, output = op.data, op.output()
    table = op.unit.constant("log_table", _table().astype(np.uint16))
    body = f"""\
for (int i = 0; i < {output.tensor.elements}; i++) {{
    const uint32_t x = input[i] << {data.input_correction_bits};
    uint32_t result = 0;
    if (x > 1) {{
        result = natural_log(x, UINT32_C({data.output_scale}), table);
    }}
    output[i] = (int16_t)(result > 32767 ? 32767 : result);
}}"""
    op.kernel(
        [
            parameter(op.input(0), "input"),
            ("const uint16_t *", "table", table),
            parameter(output, "output", write=True),
        ],
        body,
    )
