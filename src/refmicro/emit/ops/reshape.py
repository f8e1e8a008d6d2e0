"""RESHAPE: nothing is done where output and input lie at one place, else bytes are copied."""

from refmicro.emit.ops._movement import emit_view as emit

__all__ = ["emit"]
