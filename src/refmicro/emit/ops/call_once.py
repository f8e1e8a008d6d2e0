"""CALL_ONCE: a flag, which no reset clears, says that the subgraph has run."""

from __future__ import annotations

from refmicro.emit.unit import Op, Statement


def emit(op: Op) -> None:
    """The subgraph's function in the first invocation."""
    flag = op.state("has_run", 1, None)
    op.statements.append(op.statement("if (*(const uint8_t *){} == 0) {{", flag))
    op.statements.append(op.statement("filled({}, 1, 1);", flag))
    op.statements.append(Statement(f"subgraph_{op.data}();"))
    op.statements.append(Statement("}}"))
