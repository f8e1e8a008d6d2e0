"""What REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN share."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._reduce import emit_reduction
from refmicro.emit.unit import Op
from refmicro.types import INTEGER_LIMITS, DType

_LARGEST_FLOAT = "3.402823466e+38f"


def emit_extremum(op: Op, sign: str) -> None:
    """The largest (`>`) or smallest (`<`) of the terms of each output."""
    output = op.output()
    if output.tensor.dtype is DType.FLOAT32:
        start = f"-{_LARGEST_FLOAT}" if sign == ">" else _LARGEST_FLOAT
        emit_reduction(op, start, "float", f"sum = value {sign} sum ? value : sum;", "sum")
        return
    low, high = INTEGER_LIMITS[output.tensor.dtype]
    start = str(low if sign == ">" else high)
    step = f"sum = value {sign} sum ? value : sum;"
    emit_reduction(op, start, output.c_type, step, "sum")


def emit_arg_extremum(op: Op, sign: str) -> None:
    """The first index of the largest (`>`) or smallest (`<`) value."""
    data, x = op.data, op.input(0)
    body = f"""\
for (int n = 0; n < {data.outer}; n++) {{
    for (int k = 0; k < {data.inner}; k++) {{
        const {x.c_type} *line = (const {x.c_type} *)input + n * {data.size * data.inner} + k;
        int32_t where = 0;
        for (int32_t i = 1; i < {data.size}; i++) {{
            if (line[i * {data.inner}] {sign} line[where * {data.inner}]) {{
                where = i;
            }}
        }}
        output[n * {data.inner} + k] = where;
    }}
}}"""
    body = body.replace(f"const {x.c_type} *line = (const {x.c_type} *)input", _line(x))
    op.kernel([parameter(x, "input"), parameter(op.output(), "output", write=True)], body)


def _line(x) -> str:
    kind = parameter(x, "line")[0]
    return f"{kind}line = input"
