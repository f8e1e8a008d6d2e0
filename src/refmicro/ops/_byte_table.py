"""Look-ups of bytes in a table of 256 bytes: 64 at a time where the processor has AVX-512 VBMI."""

from __future__ import annotations

from typing import Any

import numpy as np

from refmicro._jit import Intrinsic, Kernel, has_byte_tables, jit
from refmicro._vector_code import Emitter

BYTES = 64
"""Bytes of one register."""


def _emit(builder: Any, source: Any, table: Any, out: Any, count: Any) -> None:
    emit = Emitter(builder)
    kind = emit.ir.VectorType(emit.i8, BYTES)
    whole = builder.and_(count, emit.number(-BYTES))
    with emit.loop(whole, BYTES) as place:
        indices = emit.load(kind, builder.add(source, place))
        emit.store(emit.looked_up(indices, table), builder.add(out, place))
    mask = emit.first_lanes(builder.sub(count, whole), BYTES)
    indices = emit.masked_load(builder.add(source, whole), mask)
    emit.masked_store(emit.looked_up(indices, table), builder.add(out, whole), mask)


_LOOK_UP = Intrinsic(_emit, 4)


@jit
def _wide(x, table, out):
    addresses = x.ctypes.data, table.ctypes.data, out.ctypes.data
    _LOOK_UP(
        np.int64(addresses[0]), np.int64(addresses[1]), np.int64(addresses[2]), np.int64(x.size)
    )


@jit
def _narrow(x, table, out):
    for i in range(x.size):
        out[i] = table[x[i]]


def kernel_for(table: np.ndarray) -> Kernel:
    """What to call as kernel(x, table, out), all flat, unsigned and contiguous, for this table of
    256 or 65,536 values of any width."""
    return _wide if table.nbytes == 256 and has_byte_tables() else _narrow
