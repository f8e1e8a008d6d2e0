"""BATCH_MATMUL of int8, int16 and float32; both operands are read as they lie."""

from __future__ import annotations

from refmicro.emit.c_text import plus
from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._nest import INDICES, broadcast, contiguous, index, loops
from refmicro.emit.ops._product import requantized, require_narrow_sums, sum_type
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """output = requantize(a x b) for each pair of matrices."""
    data = op.data
    left, right = data.left.shape, data.right.shape
    rows, depth = (left[-1], left[-2]) if data.adj_x else (left[-2], left[-1])
    columns = right[-2] if data.adj_y else right[-1]
    if data.requantize is not None and not data.requantize.wide:
        require_narrow_sums(op, data.bound)
    rank = len(data.leading)
    strides = []
    for shape in (left, right):
        size = shape[-1] * shape[-2]
        strides.append([step * size for step in broadcast(shape[:-2], rank)])
    strides.append([step * rows * columns for step in contiguous(data.leading)])
    outer = loops(data.leading, strides)
    a_index = f"k * {rows} + r" if data.adj_x else f"r * {depth} + k"
    b_index = f"c * {depth} + k" if data.adj_y else f"k * {columns} + c"
    a, b, target = (index(outer, operand) for operand in range(3))
    value = plus(f"a[{a} + {a_index}]".replace("[0 + ", "["), -data.left.zero_point)
    weight = plus(f"b[{b} + {b_index}]".replace("[0 + ", "["), -data.right.zero_point)
    result = "sum"
    if data.requantize is not None:
        result = requantized(op, data.requantize, "sum", "0", data.bound)
    place = f"output[{target} + r * {columns} + c]".replace("[0 + ", "[")
    product = f"{value} * {weight}"
    if sum_type(data.requantize) == "int64_t":
        product = f"(int64_t)({product})"
    text = f"""\
for (int r = 0; r < {rows}; r++) {{
    for (int c = 0; c < {columns}; c++) {{
        {sum_type(data.requantize)} sum = 0;
        for (int k = 0; k < {depth}; k++) {{
            sum += {product};
        }}
        {place} = {result};
    }}
}}"""
    for name, loop in reversed(list(zip(INDICES, outer, strict=False))):
        inner = "\n".join(f"    {line}" for line in text.split("\n"))
        text = f"for (int {name} = 0; {name} < {loop.extent}; {name}++) {{\n{inner}\n}}"
    op.kernel(
        [
            parameter(op.input(0), "a"),
            parameter(op.input(1), "b"),
            parameter(op.output(), "output", write=True),
        ],
        text,
    )
