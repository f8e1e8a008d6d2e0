"""What MEAN, SUM, REDUCE_MAX and REDUCE_MIN share: loops over what stays and over what goes."""

from __future__ import annotations

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.ops._nest import INDICES, contiguous, index, loops
from refmicro.emit.unit import Op
from refmicro.ops._reduce import Reduction


def emit_reduction(op: Op, start: str, total: str, step: str, end: str) -> None:
    """One result after another.

    Args:
        op: the operator, with a `Reduction`.
        start: what a result begins with.
        total: its C type.
        step: the statement for each `value` of the input.
        end: the expression of the output from `sum`.
    """
    data: Reduction = op.data
    x, output = op.input(0), op.output()
    shape, steps = x.tensor.shape, contiguous(x.tensor.shape)
    kept = [i for i in range(len(shape)) if i not in data.axes]
    extents = [shape[i] for i in kept]
    outer = loops(extents, [[steps[i] for i in kept], contiguous(extents)])
    inner = loops([shape[i] for i in data.axes], [[steps[i] for i in data.axes]])
    names = INDICES[len(outer) :]
    base = index(outer, 0)
    terms = [
        name if loop.strides[0] == 1 else f"{loop.strides[0]} * {name}"
        for name, loop in zip(names, inner, strict=False)
    ]
    text = step.replace("value", f"input[{' + '.join([base, *terms])}]")
    for name, loop in reversed(list(zip(names, inner, strict=False))):
        text = _loop(name, loop.extent, text)
    text = f"{total} sum = {start};\n{text}\noutput[{index(outer, 1)}] = {end};"
    for name, loop in reversed(list(zip(INDICES, outer, strict=False))):
        text = _loop(name, loop.extent, text)
    op.kernel([parameter(x, "input"), parameter(output, "output", write=True)], text)


def _loop(name: str, extent: int, text: str) -> str:
    inner = "\n".join(f"    {line}" for line in text.split("\n"))
    return f"for (int {name} = 0; {name} < {extent}; {name}++) {{\n{inner}\n}}"
