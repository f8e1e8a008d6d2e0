"""Vector instructions as LLVM code: what `_jit.Intrinsic` puts into kernels for AVX-512 with VNNI.

Addresses are int64 values that kernels take from `array.ctypes.data`; nothing checks them. A value
of 512 bits holds 16 int32 ("columns"), or 8 int64 of the even or of the odd columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from refmicro._jit import Intrinsic

LANES = 16
"""int32 values of one register."""

TERM_BYTES = 384
"""What `requantize` reads for 16 columns: int32 start of the sum, int32 multiplier, then int64
addend and shift, each of even and of odd columns."""

_START, _MULTIPLIER, _ADDENDS, _SHIFTS = 0, 64, 128, 256

FLIP, HIGH, LOW = 0, 64, 128
"""What the block before the first columns' terms holds: 64 bytes of 0x80, limits of outputs. The
optimizer must not know the first: LLVM 22 never ends on an exclusive or of a broadcast with it."""


class Emitter:
    """A builder with the few forms that kernels are made of."""

    def __init__(self, builder: Any) -> None:
        from llvmlite import ir

        self.builder = builder
        self.ir = ir
        self.i8, self.i32, self.i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
        self.columns = ir.VectorType(self.i32, LANES)
        self.halves = ir.VectorType(self.i64, LANES // 2)
        self.bytes = ir.VectorType(self.i8, LANES)

    def number(self, value: int) -> Any:
        """An int64."""
        return self.ir.Constant(self.i64, value)

    def splat(self, kind: Any, value: int) -> Any:
        """A vector of one constant."""
        return self.ir.Constant(kind, [value] * kind.count)

    def offset(self, address: Any, count: int) -> Any:
        """`address` + `count`."""
        return self.builder.add(address, self.number(count)) if count else address

    def pointer(self, address: Any) -> Any:
        """An address as LLVM wants it."""
        return self.builder.inttoptr(address, self.ir.PointerType())

    def load(self, kind: Any, address: Any, count: int = 0) -> Any:
        """The value at `address` + `count`, wherever that lies."""
        value = self.builder.load(self.pointer(self.offset(address, count)), typ=kind)
        value.align = 1
        return value

    def store(self, value: Any, address: Any) -> None:
        """Writes to any address."""
        self.builder.store(value, self.pointer(address)).align = 1

    def call(self, name: str, result: Any, *values: Any) -> Any:
        """One of LLVM's intrinsic functions."""
        kind = self.ir.FunctionType(result, [value.type for value in values])
        module = self.builder.module
        function = module.globals.get(name) or self.ir.Function(module, kind, name)
        return self.builder.call(function, values)

    def broadcast(self, kind: Any, value: Any) -> Any:
        """A vector of one scalar."""
        empty = self.ir.Constant(kind, self.ir.Undefined)
        lanes = self.ir.Constant(self.ir.VectorType(self.i32, kind.count), [0] * kind.count)
        first = self.builder.insert_element(empty, value, self.ir.Constant(self.i32, 0))
        return self.builder.shuffle_vector(first, empty, lanes)

    def first_lanes(self, count: Any, lanes: int) -> Any:
        """A mask of the first `count` lanes: all where there are fewer, none is not allowed."""
        builder, most = self.builder, self.number(lanes)
        fewer = builder.select(builder.icmp_signed("<", count, most), count, most)
        unused = builder.sub(self.number(64), fewer)
        bits = builder.lshr(self.number(-1), unused)
        kind = self.ir.IntType(lanes)
        bits = bits if lanes == 64 else builder.trunc(bits, kind)
        return builder.bitcast(bits, self.ir.VectorType(self.ir.IntType(1), lanes))

    def masked_load(self, address: Any, mask: Any) -> Any:
        """Bytes where the mask says so; others are 0 and not read."""
        count = mask.type.count
        kind = self.ir.VectorType(self.i8, count)
        align, zeros = self.ir.Constant(self.i32, 1), self.splat(kind, 0)
        name = f"llvm.masked.load.v{count}i8.p0"
        return self.call(name, kind, self.pointer(address), align, mask, zeros)

    def masked_store(self, value: Any, address: Any, mask: Any) -> None:
        """Bytes where the mask says so."""
        align = self.ir.Constant(self.i32, 1)
        name = f"llvm.masked.store.v{value.type.count}i8.p0"
        self.call(name, self.ir.VoidType(), value, self.pointer(address), align, mask)

    def add_products(self, sums: Any, unsigned: Any, signed: Any) -> Any:
        """Each int32 plus four products of unsigned with signed bytes; sums wrap."""
        name = "llvm.x86.avx512.vpdpbusd.512"
        return self.call(name, self.columns, sums, unsigned, signed)

    def looked_up(self, indices: Any, table: Any) -> Any:
        """Bytes of a table of 256 at the address `table`, by 64 unsigned bytes."""
        kind = indices.type
        quarters = [self.load(kind, table, 64 * i) for i in range(4)]
        name = "llvm.x86.avx512.vpermi2var.qi.512"
        low = self.call(name, kind, quarters[0], indices, quarters[1])
        high = self.call(name, kind, quarters[2], indices, quarters[3])
        is_high = self.builder.icmp_signed("<", indices, self.splat(kind, 0))
        return self.builder.select(is_high, high, low)

    def rounded(self, values: Any) -> Any:
        """16 float32 as int32, halves to even; -2^31 where that does not fit."""
        name = "llvm.x86.avx512.mask.cvtps2dq.512"
        mask, way = self.ir.Constant(self.ir.IntType(16), -1), self.ir.Constant(self.i32, 4)
        return self.call(name, self.columns, values, self.splat(self.columns, 0), mask, way)

    def variable(self, value: Any) -> Any:
        """A stack slot, which the optimizer turns into a register."""
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(value.type)
        self.builder.store(value, slot)
        return slot

    def value(self, slot: Any, kind: Any) -> Any:
        """What `variable` holds."""
        return self.builder.load(slot, typ=kind)

    @contextlib.contextmanager
    def loop(self, count: Any, step: Any = 1, start: Any = 0) -> Iterator[Any]:
        """Code that runs for `start`, `start` + `step`, ... below `count`."""
        builder = self.builder
        start, step = (self.number(x) if isinstance(x, int) else x for x in (start, step))
        slot = self.variable(start)
        test = builder.append_basic_block("loop.test")
        body = builder.append_basic_block("loop.body")
        end = builder.append_basic_block("loop.end")
        builder.branch(test)
        builder.position_at_end(test)
        index = self.value(slot, self.i64)
        builder.cbranch(builder.icmp_signed("<", index, count), body, end)
        builder.position_at_end(body)
        yield index
        builder.store(builder.add(index, step), slot)
        builder.branch(test)
        builder.position_at_end(end)


class Requantize:
    """Sums to output bytes, for 16 columns whose terms stay in registers.

    The value of a sum x, with its column's multiplier M and shift s in -23..-1, is in integers of
    64 bits, exactly as `ops/_requantize.py` derives it,

        (x * M + addend - (2^31 if x < 0)) >> (31 - s)
        addend = 2^30 + 2^(30 - s) + offset * 2^(31 - s)

    where outputs below 0 + offset are clamped away, the sign need not be looked at (`one_sided`).
    """

    def __init__(self, emit: Emitter, frame: Any, terms: Any, *, one_sided: bool) -> None:
        self._emit, self._one_sided = emit, one_sided
        half = emit.halves
        multiplier = emit.load(half, terms, _MULTIPLIER)
        self._multipliers = self._even_and_odd(multiplier)
        self._addends = [emit.load(half, terms, _ADDENDS + 64 * i) for i in (0, 1)]
        self._shifts = [emit.load(half, terms, _SHIFTS + 64 * i) for i in (0, 1)]
        self._high = emit.load(emit.columns, frame, HIGH)
        self._low = emit.load(emit.columns, frame, LOW)

    def _even_and_odd(self, values: Any) -> tuple[Any, Any]:
        """int32 columns as sign-extended int64: each one instruction or none."""
        builder, upper = self._emit.builder, self._emit.splat(self._emit.halves, 32)
        return builder.ashr(builder.shl(values, upper), upper), builder.ashr(values, upper)

    def __call__(self, sums: Any) -> Any:
        """16 bytes of 16 sums."""
        emit, builder = self._emit, self._emit.builder
        results = []
        for i, x in enumerate(self._even_and_odd(builder.bitcast(sums, emit.halves))):
            product = builder.mul(x, self._multipliers[i])
            total = builder.add(product, self._addends[i])
            if not self._one_sided:
                negative = builder.icmp_signed("<", product, emit.splat(emit.halves, 0))
                less = builder.sub(total, emit.splat(emit.halves, 1 << 31))
                total = builder.select(negative, less, total)
            # A shift of an odd column is 32 less, so that its value ends in the upper half.
            shifted = builder.ashr(total, self._shifts[i])
            results.append(builder.bitcast(shifted, emit.columns))
        lanes = [i if i % 2 == 0 else i + LANES for i in range(LANES)]
        merged = builder.shuffle_vector(*results, emit.ir.Constant(emit.columns, lanes))
        merged = emit.call("llvm.smin.v16i32", emit.columns, merged, self._high)
        merged = emit.call("llvm.smax.v16i32", emit.columns, merged, self._low)
        return builder.trunc(merged, emit.bytes)


def _copy(builder: Any, target: Any, source: Any, count: Any) -> None:
    emit = Emitter(builder)
    with emit.loop(count, 64) as start:
        mask = emit.first_lanes(builder.sub(count, start), 64)
        value = emit.masked_load(builder.add(source, start), mask)
        emit.masked_store(value, builder.add(target, start), mask)


def _fill(builder: Any, target: Any, byte: Any, count: Any) -> None:
    emit = Emitter(builder)
    value = emit.broadcast(emit.ir.VectorType(emit.i8, 64), builder.trunc(byte, emit.i8))
    with emit.loop(count, 64) as start:
        mask = emit.first_lanes(builder.sub(count, start), 64)
        emit.masked_store(value, builder.add(target, start), mask)


COPY_BYTES = Intrinsic(_copy, 3)
"""Target, source, count: bytes from one place to another, none beside them touched."""

FILL_BYTES = Intrinsic(_fill, 3)
"""Target, byte, count."""
