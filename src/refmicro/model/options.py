"""Options of custom operators as most of TFLM's read them: a flexbuffer whose root is a map."""

from __future__ import annotations

from flatbuffers import flexbuffers


def custom_options(**options: int) -> bytes:
    """The bytes of some options; none where there are no options."""
    return bytes(flexbuffers.Dumps(options)) if options else b""
