"""PACK: each input is copied to its place."""

from refmicro.emit.ops.concatenation import emit

__all__ = ["emit"]
