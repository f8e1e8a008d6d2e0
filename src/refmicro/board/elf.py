"""Reads what a 32-bit little-endian ELF program says about itself: symbols and sections.

Source: Tool Interface Standard, Executable and Linking Format, version 1.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from refmicro.errors import UsageError

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SECTION = struct.Struct("<IIIIIIIIII")
_SYMBOL = struct.Struct("<IIIBBH")

_MAGIC_32_LITTLE = b"\x7fELF\x01\x01"
_MACHINE_ARM = 40
_TYPE_SYMBOLS = 2
_TYPE_NO_BITS = 8
_FLAG_ALLOCATED = 2
_SYMBOL_FUNCTION = 2
_SECTION_UNDEFINED = 0
_SECTION_RESERVED = 0xFF00

MARKS_SECTION = "refmicro_marks"


@dataclass(frozen=True)
class Section:
    """One section that takes memory; `stored` is false where the file holds no bytes (.bss)."""

    name: str
    address: int
    size_bytes: int
    stored: bool


@dataclass(frozen=True)
class Function:
    """The addresses `start` up to, not including, `end` of one function."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Elf:
    """What a program says about itself.

    `functions` rise in address and do not overlap. `marks` are pairs (number, address) from the
    section `refmicro_marks`, see `build.MARKS_HEADER`.
    """

    symbols: dict[str, int]
    sizes: dict[str, int]
    functions: tuple[Function, ...]
    sections: tuple[Section, ...]
    marks: tuple[tuple[int, int], ...]


def read_elf(path: Path) -> Elf:
    """Read a program's symbols and sections.

    Raises:
        UsageError: if the file cannot be read or is no 32-bit little-endian ELF program.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the program: {path}: {error.strerror or error}") from error
    if not data.startswith(_MAGIC_32_LITTLE):
        raise UsageError(f"not a 32-bit little-endian ELF program: {path}")
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError) as error:
        raise UsageError(f"the ELF program is damaged: {path}: {error}") from error


def _parse(data: bytes) -> Elf:
    header = _HEADER.unpack_from(data)
    machine, table, count, names_index = header[2], header[6], header[12], header[13]
    headers = [_SECTION.unpack_from(data, table + _SECTION.size * i) for i in range(count)]

    def string(index: int, offset: int) -> str:
        start = headers[index][4] + offset
        return data[start : data.index(0, start)].decode("utf-8", "backslashreplace")

    sections = tuple(
        Section(string(names_index, entry[0]), entry[3], entry[5], entry[1] != _TYPE_NO_BITS)
        for entry in headers
        if entry[2] & _FLAG_ALLOCATED
    )
    symbols: dict[str, int] = {}
    sizes: dict[str, int] = {}
    found: dict[int, tuple[str, int]] = {}
    for entry in headers:
        if entry[1] != _TYPE_SYMBOLS:
            continue
        for offset in range(entry[4], entry[4] + entry[5], _SYMBOL.size):
            name_at, value, size, info, _, section = _SYMBOL.unpack_from(data, offset)
            if section == _SECTION_UNDEFINED or not name_at:
                continue
            name, is_function = string(entry[6], name_at), info & 15 == _SYMBOL_FUNCTION
            if is_function and machine == _MACHINE_ARM:
                value &= ~1  # bit 0 says Thumb
            symbols.setdefault(name, value)
            sizes.setdefault(name, size)
            if is_function and section < _SECTION_RESERVED:
                known = found.get(value)
                if known is None or size > known[1]:
                    found[value] = (name, size)
    marks = b"".join(
        data[entry[4] : entry[4] + entry[5]]
        for entry in headers
        if string(names_index, entry[0]) == MARKS_SECTION
    )
    return Elf(
        symbols,
        sizes,
        _functions(found, sections),
        sections,
        tuple(struct.iter_unpack("<II", marks)),
    )


def _functions(
    found: dict[int, tuple[str, int]], sections: tuple[Section, ...]
) -> tuple[Function, ...]:
    """Functions in rising order; one without a size reaches to the next or its section's end."""
    starts = sorted(found)
    made, names = [], set()
    for start, following in zip(starts, [*starts[1:], 1 << 32], strict=True):
        name, size = found[start]
        if not size:
            ends = (s.address + s.size_bytes for s in sections if s.address <= start)
            size = min((end - start for end in ends if end > start), default=0)
        if name in names:  # static functions of several files may share a name
            name = f"{name}@{start:#x}"
        names.add(name)
        made.append(Function(name, start, min(start + max(size, 2), following)))
    return tuple(made)
