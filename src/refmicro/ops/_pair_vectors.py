"""Products and sums of two int8 values in vector instructions, 16 results at a time.

    round(fma(v, factor, center + copysign(half, v)))    with v = (a + oa) * (b + ob)
    round(fma(a, p, fma(b, q, center)))

after a clamp; halves go to even. That is nearly TFLM's result in two thirds of the instructions of
`_pair_formula`; whether it is TFLM's in every case is tried on all pairs, like there.

Compilers leave half of the registers empty where a line is short, as it is where one input is
broadcast; here the loops are written down. An input that is much smaller than the output is turned
into floats once.

The order of operations on a value is the same in all forms, so what holds for one holds for all.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from refmicro._jit import Intrinsic, jit
from refmicro._vector_code import LANES, Emitter

_BYTES, _FLOATS, _SCALAR = range(3)
"""What a line of an input is: int8 values, prepared floats, or one prepared float."""

_REUSED = 4
"""An input is prepared where each of its values serves so many results."""

CENTER, LOW, HIGH = 8, 12, 16
"""Where the float32 constants lie, behind two of the inputs (a product's: oa and ob, a sum's: p and
q), and a product's factor behind them."""
FACTOR, HALF = 20, 24


class _Lines:
    """Code for some lines: constants in registers, then loops over lines and over 16 values."""

    def __init__(
        self, builder: Any, is_product: bool, forms: tuple[int, int], args: tuple[Any, ...]
    ) -> None:
        self.emit = Emitter(builder)
        ir = self.emit.ir
        self.floats = ir.VectorType(ir.FloatType(), LANES)
        self.is_product, self.forms = is_product, forms
        places, self.constants = args[2:4], args[4]
        self.own = [self.constant(place, 0) for place in places]
        self.factor = self.constant(self.constants, FACTOR)
        self.half = self.constant(self.constants, HALF)
        self.center = self.constant(self.constants, CENTER)
        self.limits = [self._limit(at) for at in (LOW, HIGH)]
        self.inputs = self.scalars = self.out = None

    def begin(self, inputs: tuple[Any, Any], out: Any) -> None:
        """The next line."""
        self.inputs, self.out = inputs, out
        self.scalars = [
            self.constant(address, 0) if form == _SCALAR else None
            for address, form in zip(inputs, self.forms, strict=True)
        ]

    def constant(self, address: Any, count: int) -> Any:
        """A float that nothing changes while the kernel runs, in all lanes."""
        value = self.emit.load(self.emit.ir.FloatType(), address, count)
        value.set_metadata("invariant.load", self.emit.builder.module.add_metadata([]))
        return self.emit.broadcast(self.floats, value)

    def _limit(self, count: int) -> Any:
        builder, emit = self.emit.builder, self.emit
        wide = builder.fptosi(self.constant(self.constants, count), emit.columns)
        return builder.trunc(wide, emit.bytes)

    def operand(self, which: int, place: Any, mask: Any) -> Any:
        """16 values of an input as floats, in a product less their zero point."""
        if self.forms[which] == _SCALAR:
            return self.scalars[which]
        builder, address = self.emit.builder, self.inputs[which]
        if self.forms[which] == _FLOATS:
            # There is room behind prepared values.
            at = builder.add(address, builder.mul(place, self.emit.number(4)))
            return self.emit.load(self.floats, at)
        at = builder.add(address, place)
        if mask is None:
            values = self.emit.load(self.emit.bytes, at)
        else:
            values = self.emit.masked_load(at, mask)
        value = builder.sitofp(values, self.floats)
        return builder.fadd(value, self.own[which]) if self.is_product else value

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        return self.emit.call(f"llvm.fma.v{LANES}f32", self.floats, a, b, c)

    def results(self, place: Any, mask: Any = None) -> None:
        """16 results, or those that the mask tells."""
        builder, emit = self.emit.builder, self.emit
        a, b = (self.operand(which, place, mask) for which in (0, 1))
        if self.is_product:
            product = builder.fmul(a, b)
            half = emit.call(f"llvm.copysign.v{LANES}f32", self.floats, self.half, product)
            value = self.fused(product, self.factor, builder.fadd(self.center, half))
        else:
            value = self.fused(a, self.own[0], self.fused(b, self.own[1], self.center))
        result = emit.rounded(value)
        for name, limit in (("smax", -128), ("smin", 127)):
            bound = emit.splat(emit.columns, limit)
            result = emit.call(f"llvm.{name}.v{LANES}i32", emit.columns, result, bound)
        result, target = builder.trunc(result, emit.bytes), builder.add(self.out, place)
        for name, limit in zip(("smax", "smin"), self.limits, strict=True):
            result = emit.call(f"llvm.{name}.v{LANES}i8", emit.bytes, result, limit)
        if mask is None:
            emit.store(result, target)
        else:
            emit.masked_store(result, target, mask)


def _emit(is_product: bool, forms: tuple[int, int], builder: Any, *args: Any) -> None:
    """Arguments: addresses of a and b, of the first constant of each, of constants and results; how
    far lines of a and b are apart; numbers of lines and of values in each."""
    lines = _Lines(builder, is_product, forms, args)
    number, whole = lines.emit.number, builder.and_(args[9], lines.emit.number(-LANES))
    rest = builder.sub(args[9], whole)
    with lines.emit.loop(args[8]) as index:
        inputs = [
            builder.add(address, builder.mul(index, step))
            for address, step in zip(args[0:2], args[6:8], strict=True)
        ]
        lines.begin(tuple(inputs), builder.add(args[5], builder.mul(index, args[9])))
        with lines.emit.loop(whole, LANES) as place:
            lines.results(place)
        with builder.if_then(builder.icmp_signed(">", rest, number(0))):
            lines.results(whole, lines.emit.first_lanes(rest, LANES))


def _intrinsic(is_product: bool, *forms: int) -> Intrinsic:
    return Intrinsic(functools.partial(_emit, is_product, forms), 10)


_PRODUCT_BB = _intrinsic(True, _BYTES, _BYTES)
_PRODUCT_BF = _intrinsic(True, _BYTES, _FLOATS)
_PRODUCT_BS = _intrinsic(True, _BYTES, _SCALAR)
_PRODUCT_FF = _intrinsic(True, _FLOATS, _FLOATS)
_PRODUCT_FS = _intrinsic(True, _FLOATS, _SCALAR)
_SUM_BB = _intrinsic(False, _BYTES, _BYTES)
_SUM_BF = _intrinsic(False, _BYTES, _FLOATS)
_SUM_FB = _intrinsic(False, _FLOATS, _BYTES)
_SUM_BS = _intrinsic(False, _BYTES, _SCALAR)
_SUM_SB = _intrinsic(False, _SCALAR, _BYTES)
_SUM_FF = _intrinsic(False, _FLOATS, _FLOATS)
_SUM_FS = _intrinsic(False, _FLOATS, _SCALAR)
_SUM_SF = _intrinsic(False, _SCALAR, _FLOATS)


@jit
def _prepared(values, count, offset):
    """Values plus an offset if they serve many results; room behind."""
    if values.size * _REUSED > count:
        return np.empty(0, np.float32)
    out = np.empty(values.size + LANES, np.float32)
    for i in range(values.size):
        out[i] = values[i] + offset
    return out


@jit
def _address(values, prepared, step):
    """Where an input lies, the form of its lines and the bytes of one value."""
    if prepared.size == 0:
        return np.int64(values.ctypes.data), _BYTES, 1
    return np.int64(prepared.ctypes.data), (_FLOATS if step else _SCALAR), 4


@jit
def product_lines(a, b, loops, constants, out):
    """A product by `constants`, `loops` as for `_elementwise._lookup_pairs` where `suits`."""
    left, right = _prepared(a, out.size, constants[0]), _prepared(b, out.size, constants[1])
    x, a_form, a_bytes = _address(a, left, loops[1, 2])
    y, b_form, b_bytes = _address(b, right, loops[2, 2])
    c, o = np.int64(constants.ctypes.data), np.int64(out.ctypes.data)
    lines, count = loops[0, 1], loops[0, 2]
    forms = min(a_form, b_form) * 3 + max(a_form, b_form)
    for i in range(loops[0, 0]):
        p, q = x + i * loops[1, 0] * a_bytes, y + i * loops[2, 0] * b_bytes
        first, second, u, v = c, c + 4, loops[1, 1] * a_bytes, loops[2, 1] * b_bytes
        if a_form > b_form:
            # A product is the same the other way round.
            p, q, first, second, u, v = q, p, second, first, v, u
        if forms == 0:
            _PRODUCT_BB(p, q, first, second, c, o, u, v, lines, count)
        elif forms == 1:
            _PRODUCT_BF(p, q, first, second, c, o, u, v, lines, count)
        elif forms == 2:
            _PRODUCT_BS(p, q, first, second, c, o, u, v, lines, count)
        elif forms == 4:
            _PRODUCT_FF(p, q, first, second, c, o, u, v, lines, count)
        else:
            _PRODUCT_FS(p, q, first, second, c, o, u, v, lines, count)
        o += lines * count
    return left.size + right.size  # Used last: addresses alone do not keep arrays.


@jit
def sum_lines(a, b, loops, constants, out):
    """A weighted sum, else like `product_lines`."""
    zero = np.float32(0)
    left, right = _prepared(a, out.size, zero), _prepared(b, out.size, zero)
    x, a_form, a_bytes = _address(a, left, loops[1, 2])
    y, b_form, b_bytes = _address(b, right, loops[2, 2])
    c, o = np.int64(constants.ctypes.data), np.int64(out.ctypes.data)
    lines, count = loops[0, 1], loops[0, 2]
    forms = a_form * 3 + b_form
    for i in range(loops[0, 0]):
        p, q = x + i * loops[1, 0] * a_bytes, y + i * loops[2, 0] * b_bytes
        u, v = loops[1, 1] * a_bytes, loops[2, 1] * b_bytes
        if forms == 0:
            _SUM_BB(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 1:
            _SUM_BF(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 2:
            _SUM_BS(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 3:
            _SUM_FB(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 4:
            _SUM_FF(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 5:
            _SUM_FS(p, q, c, c + 4, c, o, u, v, lines, count)
        elif forms == 6:
            _SUM_SB(p, q, c, c + 4, c, o, u, v, lines, count)
        else:
            _SUM_SF(p, q, c, c + 4, c, o, u, v, lines, count)
        o += lines * count
    return left.size + right.size  # Used last: addresses alone do not keep arrays.


def suits(a_size: int, b_size: int, loops: np.ndarray, count: int) -> bool:
    """Whether lines are long enough to fill registers, and what stands still in them is small."""
    if loops[0, 2] < LANES:
        return False
    still = [size for size, step in ((a_size, loops[1, 2]), (b_size, loops[2, 2])) if step == 0]
    return all(size * _REUSED <= count for size in still)
