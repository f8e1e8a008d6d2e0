"""Convolutions in plain C: loops over a window's positions, those outside of the image left out."""

from __future__ import annotations

import numpy as np

from refmicro.emit.c_text import plus, real
from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._product import constants_of, requantized, require_narrow_sums, sum_type
from refmicro.emit.unit import Op
from refmicro.ops._convolution import Convolution
from refmicro.ops._window import Axis
from refmicro.types import DType


def window_loops(data: Convolution, images: int, body: str, start: str, end: str) -> str:
    """C text: images, output rows and columns, channels `o`, filter positions.

    Args:
        data: with its window.
        images: how many.
        body: statements for one filter position, with `pixel`, `tap` and `sum`.
        start: statements before the positions of one output value.
        end: statements after them.
    """
    rows, columns = data.window.height, data.window.width
    height, width = rows.size, columns.size
    pixel = f"(n * {height} + row) * {width} + column"
    inside_rows = _guard("row", rows)
    inside_columns = _guard("column", columns)
    return f"""\
for (int n = 0; n < {images}; n++) {{
    for (int y = 0; y < {rows.out}; y++) {{
        for (int x = 0; x < {columns.out}; x++) {{
            for (int o = 0; o < {data.channels}; o++) {{
{_moved(start, 4)}\
                for (int i = 0; i < {rows.filter}; i++) {{
                    const int row = {_position(rows, "y", "i")};
{_moved(inside_rows, 5)}\
                    for (int j = 0; j < {columns.filter}; j++) {{
                        const int column = {_position(columns, "x", "j")};
{_moved(inside_columns, 6)}\
                        const int pixel = {pixel};
                        const int tap = i * {columns.filter} + j;
{_moved(body, 6)}\
                    }}
                }}
{_moved(end, 4)}\
            }}
        }}
    }}
}}"""


def _position(axis: Axis, output: str, tap: str) -> str:
    first = output if axis.stride == 1 else f"{output} * {axis.stride}"
    then = tap if axis.dilation == 1 else f"{tap} * {axis.dilation}"
    pad = f" - {axis.pad}" if axis.pad else ""
    return f"{first} + {then}{pad}"


def _guard(name: str, axis: Axis) -> str:
    """Leaves out positions outside of the image, where there are any."""
    if axis.pad == 0 and axis.reach <= axis.size:
        return ""
    return f"if ({name} < 0 || {name} >= {axis.size}) {{\n    continue;\n}}"


def _moved(text: str, levels: int) -> str:
    return "".join(f"{'    ' * levels}{line}\n" for line in text.splitlines())


def emit_windows(op: Op, data: Convolution, product: tuple[str, str], *, inner: int) -> None:
    """A convolution: `product` are the indices of input and filter, `inner` terms a position."""
    x, w, output = op.input(0), op.input(1), op.output()
    if data.has_computed_bias:
        op.refuse("has a bias that the graph computes")
    is_float = data.requantize is None
    parameters = [parameter(x, "input")]
    if w.is_constant and w.tensor.dtype is DType.INT4:
        parameters.append(("const int8_t *", "filter", op.constant("filter", w.tensor.array())))
    else:
        parameters.append(parameter(w, "filter"))
    value = f"input[{product[0]}]"
    if is_float:
        start, end = _float_ends(op, data, parameters)
    else:
        value = plus(value, -data.input_zero_point)
        start, end = _quantized_ends(op, data, parameters)
    parameters.append(parameter(output, "output", write=True))
    body = f"sum += {value} * filter[{product[1]}];"
    if inner > 1:
        body = f"for (int k = 0; k < {inner}; k++) {{\n    {body}\n}}"
    images = x.tensor.shape[0]
    op.kernel(parameters, window_loops(data, images, body, start, end))


_OUTPUT = "output[((n * {rows} + y) * {columns} + x) * {channels} + o]"


def _place(data: Convolution) -> str:
    return _OUTPUT.format(
        rows=data.window.height.out, columns=data.window.width.out, channels=data.channels
    )


def _quantized_ends(op: Op, data: Convolution, parameters: list) -> tuple[str, str]:
    requantize, bias = data.requantize, data.constant_bias
    largest = int(np.abs(bias).max(initial=0))
    if not requantize.wide:
        require_narrow_sums(op, data.bound + largest)
    parameters += constants_of(op, requantize)
    total = sum_type(requantize)
    first = "0"
    if bias.any():
        name = op.constant("bias", bias.astype(np.int64 if requantize.wide else np.int32))
        parameters.append((f"const {total} *", "bias", name))
        first = "bias[o]"
    result = requantized(op, requantize, "sum", "o", data.bound + largest)
    return f"{total} sum = {first};", f"{_place(data)} = {result};"


def _float_ends(op: Op, data: Convolution, parameters: list) -> tuple[str, str]:
    low, high = map(real, data.float_limits)
    bias = op.input(2)
    last = "sum"
    if bias is not None:
        parameters.append(parameter(bias, "bias"))
        last = "sum + bias[o]"
    return "float sum = 0.0f;", f"{_place(data)} = clamp_float({last}, {low}, {high});"
