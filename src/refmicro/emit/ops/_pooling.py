"""Loops over the windows of the pooling operators, each row and column cut to the image."""

from __future__ import annotations

from refmicro.emit.c_text import integer, real
from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op
from refmicro.ops._window import Axis
from refmicro.types import DType


def emit_pooling(op: Op, start: tuple[str, str], step: str, end: tuple[str, str]) -> None:
    """One output after another.

    Args:
        op: the operator.
        start: what `result` begins with, for floats and for integers.
        step: the statement for each `value`.
        end: statements that turn `result`, and `count` of values, into the result, likewise.
    """
    data, output = op.data, op.output()
    is_float = output.tensor.dtype is DType.FLOAT32
    number = 0 if is_float else 1
    rows, columns = data.window.height, data.window.width
    images, depth = output.tensor.shape[0], output.tensor.shape[3]
    low, high = (real(x) if is_float else integer(x) for x in data.limits)
    limit = "clamp_float" if is_float else f"({output.c_type})clamp"
    pixel = f"((n * {rows.size} + top + i) * {columns.size} + left + j) * {depth} + c"
    value = f"input[{pixel}]"
    last = f"\n{end[number]}" if end[number] else ""
    place = f"output[((n * {rows.out} + y) * {columns.out} + x) * {depth} + c]"
    inner = f"""\
{"float" if is_float else "int32_t"} result = {start[number]};
for (int i = first_row; i < last_row; i++) {{
    for (int j = first_column; j < last_column; j++) {{
        {step.replace("value", value)}
    }}
}}{last}
{place} = {limit}(result, {low}, {high});"""
    moved = "\n".join(f"{'    ' * 4}{line}" for line in inner.split("\n"))
    count = ""
    if "count" in end[number]:
        count = "const int count = (last_row - first_row) * (last_column - first_column);"
    body = f"""\
for (int n = 0; n < {images}; n++) {{
    for (int y = 0; y < {rows.out}; y++) {{
{_cut(rows, "y", "top", "row", 2)}
        for (int x = 0; x < {columns.out}; x++) {{
{_cut(columns, "x", "left", "column", 3)}
            {count}
            for (int c = 0; c < {depth}; c++) {{
{moved}
            }}
        }}
    }}
}}"""
    parameters = [parameter(op.input(0), "input"), parameter(output, "output", write=True)]
    op.kernel(parameters, body)


def _cut(axis: Axis, index: str, first: str, name: str, levels: int) -> str:
    """The window's first position, and the first and last tap that fall on the image."""
    pad = f" - {axis.pad}" if axis.pad else ""
    lines = [
        f"const int {first} = {index} * {axis.stride}{pad};",
        f"const int first_{name} = {first} < 0 ? -{first} : 0;",
        f"const int last_{name} = {axis.size} - {first} < {axis.filter} ? "
        f"{axis.size} - {first} : {axis.filter};",
    ]
    return "\n".join(f"{'    ' * levels}{line}" for line in lines)
