"""UNPACK: each index is copied."""

from refmicro.emit.ops.split_v import emit

__all__ = ["emit"]
