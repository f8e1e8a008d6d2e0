"""ZEROS_LIKE: zeros."""

from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """All bytes are zero."""
    output = op.output()
    op.call("filled", [output, "0", str(output.tensor.nbytes)])
