"""Matrix products by the kernels that `refmicro.mema` derives for a shape and a target."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._product import per_channel
from refmicro.emit.unit import Op, Operand, Place
from refmicro.errors import UnsupportedError
from refmicro.mema.kernel import (
    Kernel,
    PackedArrays,
    Requantization,
    generate,
    sums_fit_int32,
)
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import find_target
from refmicro.ops._product import Product
from refmicro.types import DType

_NAME = "KERNEL_NAME"


def emit_product(
    op: Op, data: Product, rows: int, *, output: Operand | Place | None = None
) -> bool:
    """A generated kernel for `rows` rows of a constant filter; False where none covers it.

    Args:
        op: the operator; its input 0 is multiplied.
        data: the product.
        rows: rows of the input.
        output: where the result goes if it is not the operator's output.
    """
    return emit_kernel(op, data, product_of(data, rows), output=output)


def product_of(data: Product, rows: int) -> Matmul:
    """What a generated kernel has to compute for `rows` rows."""
    return Matmul(
        output_depth=data.channels,
        accum_depth=data.depth,
        rows=rows,
        input_bits=8 * data.input.dtype.numpy.itemsize,
        per_channel=per_channel(data.requantize),
        bias=bool(data.constant_bias.any()),
    )


def emit_kernel(
    op: Op,
    data: Product,
    problem: Matmul | Convolution,
    *,
    output: Operand | Place | None = None,
) -> bool:
    """The kernel of a problem, with the operator's constants; False where none covers it."""
    found = kernel_of(data, problem, op.unit.target, _NAME)
    if found is None:
        return False
    kernel, packed = found
    text = kernel.text.replace(kernel.prototype, f"static {kernel.prototype}")
    name = op.unit.whole_function(op.base, text, _NAME)
    target = op.output() if output is None else output
    op.call(name, [op.input(0), f"&{op.weights(packed)}", target])
    return True


def kernel_of(
    data: Product, problem: Matmul | Convolution, target: str, name: str
) -> tuple[Kernel, PackedArrays] | None:
    """The kernel of a problem and an operator's constants for it; None where none covers it."""
    requantize = data.requantize
    small = data.filter.dtype in (DType.INT8, DType.INT4) and data.filter_offset == 0
    if not small or not data.filter.is_constant or data.has_computed_bias:
        return None
    weights = np.ascontiguousarray(data.weights.T).astype(np.int8)
    bits = problem.input_bits
    bias = data.constant_bias if problem.bias else None
    many = per_channel(requantize)
    wanted = Requantization(
        output_offset=requantize.output_offset,
        low=requantize.low,
        high=requantize.high,
        input_zero_point=data.input_zero_point,
        wide=requantize.wide,
        wide_sums=requantize.wide and not sums_fit_int32(weights, bias, bits),
        left_shifts=max(requantize.shifts) > (-1 if requantize.wide else 0),
        constant=None if many else (requantize.multipliers[0], requantize.shifts[0]),
    )
    try:
        kernel = generate(problem, find_target(target), wanted, name=name)
    except UnsupportedError:
        return None
    count = None if many else 1
    pairs = requantize.multipliers[:count], requantize.shifts[:count]
    return kernel, kernel.pack(weights, bias, *pairs)
