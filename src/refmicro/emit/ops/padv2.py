"""PADV2: as PAD."""

from refmicro.emit.ops.pad import emit

__all__ = ["emit"]
