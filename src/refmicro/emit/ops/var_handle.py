"""VAR_HANDLE: the id, for those who take it as a value; operators beside it know the variable."""

from __future__ import annotations

from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Writes the id."""
    identifier = int(op.data.value.reshape(-1)[0])
    op.kernel([("arena_int32_t *", "output", op.output())], f"output[0] = {identifier};")
