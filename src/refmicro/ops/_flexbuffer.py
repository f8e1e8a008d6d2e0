"""Reads the options of custom operators: a flexbuffer whose root is a map.

TFLM reads them in two ways, and both are here: by position among the values, which are sorted by
key, without looking at types (`FlexbufferWrapper`); and by key with conversion of types.
Source: `tensorflow/lite/micro/flatbuffer_utils.cc`, `flatbuffers/flexbuffers.h` of FlatBuffers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_INT, _UINT, _FLOAT = 1, 2, 3
_INDIRECT_INT, _INDIRECT_UINT, _INDIRECT_FLOAT = 6, 7, 8
_MAP, _VECTOR, _BOOL = 9, 10, 26


@dataclass(frozen=True)
class FlexMap:
    """The root of a flexbuffer.

    Attributes:
        data: the whole buffer.
        start: where the values begin.
        width: bytes of each value.
        size: number of values.
        keys: the keys in their order, none where the root is a plain vector.
    """

    data: bytes
    start: int
    width: int
    size: int
    keys: tuple[bytes, ...]

    def int_at(self, position: int) -> int:
        """`ElementAsInt32`: the bytes of a value as a signed number, its low 32 bits.

        Raises:
            ValueError: there are not so many values.
        """
        if not 0 <= position < self.size:
            raise ValueError(f"{self.size} options, number {position} is read")
        value = _signed(self.data, self.start + position * self.width, self.width)
        return (value + 2**31) % 2**32 - 2**31

    def bool_at(self, position: int) -> bool:
        """`ElementAsBool`."""
        self.int_at(position)
        return _signed(self.data, self.start + position * self.width, self.width) != 0

    def get(self, key: str) -> int | float | None:
        """The number that belongs to a key, None where there is none or it is no number.

        Raises:
            ValueError: the buffer is damaged.
        """
        if key.encode() not in self.keys:
            return None
        index = self.keys.index(key.encode())
        place = self.start + index * self.width
        packed = _unsigned(self.data, self.start + self.size * self.width + index, 1)
        kind, width = packed >> 2, 1 << (packed & 3)
        if kind in (_INDIRECT_INT, _INDIRECT_UINT, _INDIRECT_FLOAT):
            place -= _unsigned(self.data, place, self.width)
        else:
            width = self.width
        if kind in (_INT, _INDIRECT_INT):
            return _signed(self.data, place, width)
        if kind in (_UINT, _INDIRECT_UINT, _BOOL):
            return _unsigned(self.data, place, width)
        if kind in (_FLOAT, _INDIRECT_FLOAT):
            return _float(self.data, place, width)
        return None

    def whole(self, key: str, absent: int = 0) -> int:
        """`AsInt32` of the number that belongs to a key: without its fraction, the low 32 bits.

        Raises:
            ValueError: the buffer is damaged, or C++ does not say what this number becomes.
        """
        value = self.get(key)
        if value is None:
            return absent
        if not abs(value) < 2**63:
            raise ValueError(f"{key} is {value}")
        return (int(value) + 2**31) % 2**32 - 2**31


def read_map(data: bytes) -> FlexMap:
    """The root of a flexbuffer.

    Raises:
        ValueError: it is no map and no vector, or it is damaged.
    """
    if len(data) < 3:
        raise ValueError(f"{len(data)} bytes of options")
    parent_width = data[-1]
    kind, width = data[-2] >> 2, 1 << (data[-2] & 3)
    if kind not in (_MAP, _VECTOR) or parent_width not in (1, 2, 4, 8):
        raise ValueError(f"options of type {kind}")
    root = len(data) - 2 - parent_width
    start = root - _unsigned(data, root, parent_width)
    size = _unsigned(data, start - width, width)
    _check(data, start, size * (width + 1))
    keys: tuple[bytes, ...] = ()
    if kind == _MAP:
        keys = _keys(data, start, width)
        if len(keys) != size:
            raise ValueError(f"{len(keys)} keys for {size} options")
        if list(keys) != sorted(keys):
            # TFLM looks a key up by halves.
            raise ValueError("keys that are not sorted")
    return FlexMap(data, start, width, size, keys)


def _keys(data: bytes, start: int, width: int) -> tuple[bytes, ...]:
    """The texts that a map's vector of keys points to."""
    place = start - 3 * width
    first = place - _unsigned(data, place, width)
    key_width = _unsigned(data, start - 2 * width, width)
    if key_width not in (1, 2, 4, 8):
        raise ValueError(f"keys of {key_width} bytes")
    count = _unsigned(data, first - key_width, key_width)
    _check(data, first, count * key_width)
    keys = []
    for index in range(count):
        place = first + index * key_width
        text = place - _unsigned(data, place, key_width)
        _check(data, text, 1)
        end = data.find(b"\0", text)
        keys.append(data[text : end if end >= 0 else len(data)])
    return tuple(keys)


def _check(data: bytes, place: int, length: int) -> None:
    if not 0 <= place <= place + length <= len(data):
        raise ValueError(f"damaged options of {len(data)} bytes")


def _unsigned(data: bytes, place: int, width: int) -> int:
    _check(data, place, width)
    return int.from_bytes(data[place : place + width], "little")


def _signed(data: bytes, place: int, width: int) -> int:
    _check(data, place, width)
    return int.from_bytes(data[place : place + width], "little", signed=True)


def _float(data: bytes, place: int, width: int) -> float:
    """Half precision is no C++ type, so that FlatBuffers reads 4 or 8 bytes alone."""
    _check(data, place, width)
    formats = {4: "<f", 8: "<d"}
    if width not in formats:
        raise ValueError(f"a number of {width} bytes")
    return struct.unpack(formats[width], data[place : place + width])[0]
