"""What the operators of TFLM's signal library share: options, sizes of its structs, shifts.

Source: `signal/micro/kernels/*.cc`, `signal/src/circular_buffer.{h,cc}`, `signal/src/msb_32.cc`.
"""

from __future__ import annotations

from refmicro._jit import jit
from refmicro.ops._flexbuffer import FlexMap, read_map
from refmicro.ops._spec import Node, PrepareContext
from refmicro.types import Abi, DType, Tensor, TflmBuild


def options_at(ctx: PrepareContext, *positions: int) -> tuple[int, ...]:
    """Integer options by their positions, which is how TFLM reads them: sorted by name."""
    try:
        found = read_map(ctx.node.custom_options)
        return tuple(found.int_at(position) for position in positions)
    except ValueError as error:
        ctx.refuse("options must be there", error, malformed=True)


def option_at(node: Node, position: int) -> int:
    """One option of a node that `options_at` has looked at before."""
    return read_map(node.custom_options).int_at(position)


def value_type(ctx: PrepareContext, *allowed: DType) -> DType:
    """The element type that option `T` names; TFLM follows a null pointer where it is another."""
    try:
        code = _type_code(read_map(ctx.node.custom_options))
    except ValueError as error:
        ctx.refuse("options must be there", error, malformed=True)
    names = " or ".join(map(str, allowed))
    ctx.require_shape(code in [t.value for t in allowed], f"option T must be {names}", code)
    return DType(code)


def type_of(node: Node) -> DType:
    """The element type of a node that `value_type` has looked at before."""
    return DType(_type_code(read_map(node.custom_options)))


def _type_code(found: FlexMap) -> int:
    return found.whole("T")


def pointer_bytes(build: TflmBuild) -> int:
    """`sizeof(void*)`."""
    return 8 if build.abi is Abi.LP64 else 4


def circular_buffer_bytes(build: TflmBuild, capacity: int) -> int:
    """`CircularBufferGetNeededMemory`: the struct, and every int16 value twice."""
    return (40 if build.abi is Abi.LP64 else 24) + 2 * 2 * capacity


def require_tensor(
    ctx: PrepareContext, what: str, tensor: Tensor, dtype: DType, rank: int | None
) -> None:
    """The type, and the number of dimensions if that matters."""
    if rank is not None:
        ctx.require(
            len(tensor.shape) == rank, f"{what} must have {rank} dimensions", len(tensor.shape)
        )
    ctx.require_type(what, tensor, dtype)


def require_elements(ctx: PrepareContext, what: str, tensor: Tensor, count: int) -> None:
    """TFLM reads or writes so many elements and does not compare."""
    ctx.require_shape(tensor.elements >= count, f"{what} must hold {count} values", tensor.elements)


def require_count(ctx: PrepareContext, counts: tuple[int, int]) -> None:
    """Number of inputs and outputs."""
    inputs, outputs = len(ctx.node.inputs), len(ctx.node.outputs)
    ctx.require(inputs == counts[0], f"must have {counts[0]} inputs", inputs)
    ctx.require(outputs == counts[1], f"must have {counts[1]} outputs", outputs)


def require_shift(ctx: PrepareContext, what: str, bits: int, width: int) -> None:
    """C++ leaves shifts by the width of a number or more undefined."""
    ctx.require_shape(0 <= bits < width, f"{what} must be at least 0 and below {width}", bits)


@jit
def bit_length(x):
    """Bits that an integer from 0 to 2^32 - 1 needs."""
    # The compiler makes one instruction of this loop where it sees that it runs once at least.
    bits = 0
    x = (x << 1) | 1
    while x > 0:
        x >>= 1
        bits += 1
    return bits - 1
