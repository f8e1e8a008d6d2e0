"""Matrix products by the kernels that `refmicro.mema` derives for a shape and a target."""

from __future__ import annotations

import numpy as np

from refmicro.emit.unit import Op
from refmicro.ops._product import Product


def emit_product(
    op: Op, data: Product, bias: np.ndarray | None, rows: int, *, output: object = None
) -> bool:
    """A generated kernel for `rows` rows of a constant filter; False where none covers it."""
    return False
