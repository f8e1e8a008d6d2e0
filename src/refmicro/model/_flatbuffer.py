"""Reading flatbuffer tables from bytes that nobody has verified.

Values are decoded by the `flatbuffers` package, which follows whatever offset it finds; in a
damaged file that leads out of the file, round in circles, or through the same bytes a million
times. Here every offset is checked before it is followed, and every element that is read is paid
for out of a budget that depends on the file's size alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flatbuffers import number_types
from flatbuffers.encode import Get, GetVectorAsNumpy
from flatbuffers.packer import soffset, uoffset, voffset

from refmicro.model import _schema

_ARRAY_LENGTH = 8
"""Vectors from this length on are decoded as one array, shorter ones number by number."""

BUDGET_FACTOR = 4
"""How many times its size a file may unfold to, because tables can be shared."""

TABLE_CHARGE = 32
"""Charge for one table. The smallest needs 8 bytes, 4 of them in the vector that points to it, so
that a file without shared tables never runs out of its budget."""


class DamagedError(Exception):
    """Bytes that are no flatbuffer: what is wrong, and after a colon what was found."""


class File:
    """The bytes of one file and what may still be read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.budget = BUDGET_FACTOR * len(data)
        self._layouts: dict[tuple[str, int], tuple[tuple[int, ...], int]] = {}

    def charge(self, amount: int) -> None:
        """Pay for `amount` bytes.

        Raises:
            DamagedError: if tables and vectors that are shared unfold to far more than the file.
        """
        self.budget -= amount
        if self.budget < 0:
            raise DamagedError(
                f"tables and vectors must not unfold to more than {BUDGET_FACTOR} times the file: "
                f"{len(self.data)} bytes unfold to more"
            )

    def root(self, name: str) -> Table:
        """The root table, of type `name`."""
        return self.table(self.target(0, "root table"), name)

    def target(self, position: int, what: str) -> int:
        """Where the offset at `position` points to; it leaves room for the 4 bytes there."""
        target = position + Get(uoffset, self.data, position)
        if target + 4 > len(self.data):
            raise DamagedError(
                f"{what} must lie inside the file of {len(self.data)} bytes: points to {target}"
            )
        return target

    def vector(self, position: int, item_bytes: int, what: str) -> tuple[int, int]:
        """Start and length of the vector that the offset at `position` points to."""
        data = self.data
        target = position + Get(uoffset, data, position)
        if target + 4 > len(data):
            self.target(position, what)
        length = Get(uoffset, data, target)
        end = target + 4 + length * item_bytes
        if end > len(data):
            raise DamagedError(
                f"{what} must end inside the file of {len(data)} bytes: ends at {end}"
            )
        return target + 4, length

    def table(self, position: int, name: str) -> Table:
        """The table of type `name` at `position`, at which 4 bytes can be read."""
        vtable = position - Get(soffset, self.data, position)
        layout = self._layouts.get((name, vtable))
        if layout is None:
            layout = self._layouts[name, vtable] = self._layout(name, vtable)
        offsets, needed_bytes = layout
        if position + needed_bytes > len(self.data):
            raise DamagedError(
                f"table {name} must end inside the file of {len(self.data)} bytes: "
                f"ends at {position + needed_bytes}"
            )
        return Table(self, position, name, offsets)

    def _layout(self, name: str, vtable: int) -> tuple[tuple[int, ...], int]:
        """Where each field lies in tables with this vtable (0: absent), and where the last ends."""
        size = len(self.data)
        if not 0 <= vtable <= size - 4:
            raise DamagedError(f"vtable of {name} must lie inside {size} bytes: at {vtable}")
        vtable_bytes = Get(voffset, self.data, vtable)
        if vtable_bytes < 4 or vtable_bytes % 2 or vtable + vtable_bytes > size:
            raise DamagedError(f"vtable of {name} must not have this size: {vtable_bytes} bytes")
        known = _schema.fields(name).values()
        offsets = [0] * (1 + max((field.slot for field in known), default=0))
        needed_bytes = 4
        for field in known:
            if 4 + 2 * field.slot >= vtable_bytes:
                continue
            offset = Get(voffset, self.data, vtable + 4 + 2 * field.slot)
            if 0 < offset < 4:
                raise DamagedError(f"{name}.{field.name} must lie behind its table: at {offset}")
            if offset:
                offsets[field.slot] = offset
                needed_bytes = max(needed_bytes, offset + field.number.size)
        return tuple(offsets), needed_bytes


class Table:
    """One table; `table["name"]` is a field by its snake name.

    A scalar is a number, its default where the field is absent. Text is a string, and a vector of
    numbers is a tuple, or bytes where the numbers are bytes; both are None where they are absent.
    """

    __slots__ = ("_fields", "_file", "_offsets", "name", "position")

    def __init__(self, file: File, position: int, name: str, offsets: tuple[int, ...]) -> None:
        self._file = file
        self._fields = _schema.fields(name)
        self._offsets = offsets
        self.name = name
        self.position = position

    def __getitem__(self, key: str) -> Any:
        field = self._fields[key]
        offset = self._offsets[field.slot]
        if not offset:
            return field.default
        if field.kind == "scalar":
            return Get(field.flags.packer_type, self._file.data, self.position + offset)
        if field.kind == "numbers":
            return self._numbers(field, self.position + offset)
        if field.kind == "text":
            start, length = self._file.vector(self.position + offset, 1, key)
            self._file.charge(length)
            return bytes(self._file.data[start : start + length]).decode("utf-8", "replace")
        raise TypeError(f"{key} is a {field.kind}, which is not read by index")

    def _numbers(self, field: _schema.Field, position: int) -> tuple | bytes:
        data, number = self._file.data, field.flags
        start, length = self._file.vector(position, number.bytewidth, field.name)
        self._file.charge(length * number.bytewidth)
        if number is number_types.Uint8Flags:
            return bytes(data[start : start + length])
        if length >= _ARRAY_LENGTH:
            kind = number_types.to_numpy_type(number)
            return tuple(GetVectorAsNumpy(kind, data, length, start).tolist())
        step, packer = number.bytewidth, number.packer_type
        return tuple([Get(packer, data, start + step * i) for i in range(length)])

    def has(self, key: str) -> bool:
        """Whether the field is present."""
        return self._offsets[self._fields[key].slot] != 0

    def span(self, key: str) -> tuple[int, int]:
        """Start and length of a vector of bytes, (0, 0) where it is absent; nothing is charged."""
        offset = self._offsets[self._fields[key].slot]
        return self._file.vector(self.position + offset, 1, key) if offset else (0, 0)

    def table(self, key: str, name: str) -> Table | None:
        """The table or union behind a field, which is of type `name`; None where it is absent."""
        offset = self._offsets[self._fields[key].slot]
        if not offset:
            return None
        self._file.charge(TABLE_CHARGE)
        return self._file.table(self._file.target(self.position + offset, key), name)

    def count(self, key: str) -> int:
        """Number of tables in a vector, 0 where it is absent; nothing is charged."""
        offset = self._offsets[self._fields[key].slot]
        return self._file.vector(self.position + offset, 4, key)[1] if offset else 0

    def tables(self, key: str, name: str, charge: int = TABLE_CHARGE) -> Iterator[Table]:
        """The tables of a vector, which are of type `name`; none where the vector is absent.

        All of them are paid for at the start, `charge` each.
        """
        offset = self._offsets[self._fields[key].slot]
        if not offset:
            return
        start, length = self._file.vector(self.position + offset, 4, key)
        self._file.charge(length * charge)
        for position in range(start, start + 4 * length, 4):
            yield self._file.table(self._file.target(position, key), name)
