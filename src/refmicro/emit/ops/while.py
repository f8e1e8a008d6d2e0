"""WHILE: both subgraphs are functions; values are copied to and from their tensors, as in TFLM."""

from __future__ import annotations

from refmicro.emit.unit import Op, Statement


def emit(op: Op) -> None:
    """values = inputs; while condition(values): values = body(values); outputs = values."""
    data = op.data
    graphs = op.unit.program.model.subgraphs
    condition, body = graphs[data.condition], graphs[data.body]
    count = len(data.outputs)
    values = [op.output(index) for index in range(count)]
    for index in range(count):
        op.copy(op.input(index), values[index], values[index].tensor.nbytes)

    def enter(inputs: tuple[int, ...], graph: int) -> None:
        for value, index in zip(values, inputs, strict=True):
            op.copy(value, op.tensor(graph, index), value.tensor.nbytes)

    enter(condition.inputs, data.condition)
    op.statements.append(Statement(f"subgraph_{data.condition}();"))
    decides = op.tensor(data.condition, condition.outputs[0])
    op.statements.append(op.statement("while (*(const uint8_t *){} != 0) {{", decides))
    enter(body.inputs, data.body)
    op.statements.append(Statement(f"subgraph_{data.body}();"))
    for value, index in zip(values, body.outputs, strict=True):
        op.copy(op.tensor(data.body, index), value, value.tensor.nbytes)
    enter(condition.inputs, data.condition)
    op.statements.append(Statement(f"subgraph_{data.condition}();"))
    op.statements.append(Statement("}}"))
