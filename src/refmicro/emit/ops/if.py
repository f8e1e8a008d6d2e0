"""IF: both subgraphs are functions; values are copied to and from their tensors, as in TFLM."""

from __future__ import annotations

from refmicro.emit.unit import Op, Statement


def emit(op: Op) -> None:
    """One branch by the first input."""
    data = op.data
    graphs = op.unit.program.model.subgraphs
    other, then = data.subgraphs
    op.statements.append(op.statement("if (*(const uint8_t *){} != 0) {{", op.input(0)))
    for number, branch in enumerate((then, other)):
        graph = graphs[branch]
        if number:
            op.statements.append(Statement("}} else {{"))
        for index, tensor in enumerate(graph.inputs):
            value = op.input(index + 1)
            op.copy(value, op.tensor(branch, tensor), value.tensor.nbytes)
        op.statements.append(Statement(f"subgraph_{branch}();"))
        for index, tensor in enumerate(graph.outputs):
            value = op.output(index)
            op.copy(op.tensor(branch, tensor), value, value.tensor.nbytes)
    op.statements.append(Statement("}}"))
