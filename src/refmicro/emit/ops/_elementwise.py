"""What element-wise operators share: loops over one or two inputs, tables of 8-bit functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refmicro.emit.ops import _nest
from refmicro.emit.ops._nest import loops, nest
from refmicro.emit.unit import Op, Operand
from refmicro.ops._elementwise import Lookup
from refmicro.ops._spec import PrepareContext
from refmicro.types import DType, TflmBuild


def emit_map(op: Op, body: Callable[[str], str], about: str = "") -> None:
    """output[i] = f(input[i]); `body` is the C expression of f, already of the output's type."""
    (x,), output = op.inputs(1), op.output()
    text = f"output[i] = {body('input[i]')};"
    parameters = [parameter(x, "input"), parameter(output, "output", write=True)]
    op.kernel(parameters, around(output.tensor.elements, text), about=about)


def around(count: int, text: str) -> str:
    """A loop of `i` over `count` elements."""
    inner = "\n".join(f"    {line}" for line in text.split("\n"))
    return f"for (int i = 0; i < {count}; i++) {{\n{inner}\n}}"


def parameter(operand: Operand, name: str, *, write: bool = False) -> tuple[str, str, Operand]:
    """Type, name and argument of a tensor."""
    return f"{'' if write else 'const '}{arena_type(operand.c_type)} *", name, operand


def arena_type(c_type: str) -> str:
    """The type through which the arena's bytes are read: characters may stand for any type."""
    return c_type if c_type in ("int8_t", "uint8_t") else f"arena_{c_type}"


def emit_table(op: Op, table: np.ndarray) -> None:
    """output[i] = table[bits of input[i]] for 8-bit inputs."""
    (x,), output = op.inputs(1), op.output()
    c_type = "const uint8_t *"
    name = op.constant("table", table)
    body = around(output.tensor.elements, "output[i] = table[input[i]];")
    table_type = f"const {output.c_type} *"
    parameters = [
        (c_type, "input", x),
        (table_type, "table", name),
        parameter(output, "output", write=True),
    ]
    if x.is_constant:
        op.refuse("has a constant input")
    op.kernel(parameters, body)


def emit_lookup(op: Op) -> None:
    """An operator whose data is a table of all 256 results."""
    compute = getattr(op.data, "compute", op.data)
    if not isinstance(compute, Lookup) or compute.source.itemsize != 1:
        op.refuse(f"takes {op.input(0).tensor.dtype}, which is not written yet")
    emit_table(op, compute.table)


def emit_pair(op: Op, body: Callable[[str, str], str], about: str = "") -> None:
    """output = f(a, b), broadcast; `body` is the C expression, already of the output's type."""
    (a, b), output = op.inputs(2), op.output()
    found = pair_loops(a, b, output)

    def line(i: str, j: str, k: str) -> str:
        return f"output[{k}] = {body(f'a[{i}]', f'b[{j}]')};"

    parameters = [parameter(a, "a"), parameter(b, "b"), parameter(output, "output", write=True)]
    op.kernel(parameters, nest(found, line, (0, 0, 0)), about=about)


def pair_loops(a: Operand, b: Operand, output: Operand) -> list[_nest.Loop]:
    """Loops over two inputs that broadcast, and the output."""
    if a.tensor.shape == b.tensor.shape:
        return loops([output.tensor.elements], [[1], [1], [1]])
    shapes = [operand.tensor.shape for operand in (a, b, output)]
    rank = max(map(len, shapes))
    extents = (1,) * (rank - len(shapes[2])) + shapes[2]
    strides = [_nest.broadcast(shape, rank) for shape in shapes[:2]]
    return loops(extents, [*strides, _nest.contiguous(extents)])


def again(op: Op) -> PrepareContext:
    """A context in which numbers that `prepare` derived and did not keep are derived again."""
    return PrepareContext(op.node.node, TflmBuild.firmware(), None)


def limits_of(dtype: DType) -> tuple[int, int]:
    """The largest magnitudes of an integer type."""
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)
