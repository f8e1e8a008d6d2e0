"""ELU of int8: a table of all 256 results."""

from refmicro.emit.ops._elementwise import emit_lookup as emit

__all__ = ["emit"]
