"""BROADCAST_TO: values are moved, by constant indices."""

from refmicro.emit.ops._mapped import emit_mapped as emit

__all__ = ["emit"]
