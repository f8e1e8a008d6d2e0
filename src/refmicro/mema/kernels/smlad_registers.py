"""Registers of an SMLAD kernel and the few instruction sequences that all its parts use.

Core registers hold what is multiplied and added. The floating-point registers are a second level
that is reached without memory: `vmov` moves one word, or two words at once. They hold pointers and
counters, two steps of the filter, and the sums of the half of a tile that is not being added to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from refmicro.mema.kernels.listing import Listing

SUMS = tuple(f"r{i}" for i in range(8))
"""The eight sums of a tile, or of half of one."""

SPARE = ("r8", "r9", "r10", "r11", "r12", "lr")
"""What the sums leave."""

FILTER_WORDS = 8
"""s0 to s7: filter words of two steps, later multipliers and shifts."""

_CALLER_SAVED = 16
"""s0 to s15 are free to use; what is used above is saved."""


class Registers:
    """Names of floating-point registers by purpose, and a listing to write to."""

    def __init__(self, listing: Listing, names: list[str], *, tile: bool, halves: bool) -> None:
        first = (FILTER_WORDS if tile else 0) + (len(SUMS) if halves else 0)
        self.listing = listing
        self.number = {name: first + i for i, name in enumerate(names)}
        self.saved = max(0, first + len(names) - _CALLER_SAVED)

    def filter_word(self, index: int) -> str:
        """Filter word `index` of the two steps at hand."""
        return f"s{index}"

    def slot(self, index: int) -> str:
        """Where sum `index` of the idle half is."""
        return f"s{FILTER_WORDS + index}"

    def get(self, core: str, name: str, note: str = "") -> None:
        """core = name."""
        self.listing.op(f"vmov {core}, s{self.number[name]}", note or f"{core} = {name}")

    def put(self, name: str, core: str, note: str = "") -> None:
        """name = core."""
        self.listing.op(f"vmov s{self.number[name]}, {core}", note or f"{name} = {core}")

    def get_all(self, cores: list[str], names: list[str]) -> None:
        """Registers = names, which are neighbours: one `vmov` for two."""
        numbers = [self.number[name] for name in names]
        self.move(cores, [f"s{i}" for i in numbers], to_core=True, note=" ".join(names))

    def put_all(self, names: list[str], cores: list[str]) -> None:
        """Names = registers."""
        numbers = [self.number[name] for name in names]
        self.move(cores, [f"s{i}" for i in numbers], to_core=False, note=" ".join(names))

    def move(self, cores: list[str], floats: list[str], *, to_core: bool, note: str = "") -> None:
        """Words between core and floating-point registers, by pairs of neighbours."""
        for i in range(0, len(cores), 2):
            pair = cores[i : i + 2]
            core, single = ", ".join(pair), ", ".join(floats[i : i + len(pair)])
            self.listing.op(f"vmov {core}, {single}" if to_core else f"vmov {single}, {core}", note)

    def constant(self, core: str, value: int, note: str = "") -> None:
        """core = value, of 32 bits."""
        word = value & 0xFFFFFFFF
        if _is_immediate(word):
            self.listing.op(f"mov {core}, #{word:#x}", note)
        elif _is_immediate(~word & 0xFFFFFFFF):
            self.listing.op(f"mvn {core}, #{~word & 0xFFFFFFFF:#x}", note)
        else:
            self.listing.op(f"movw {core}, #{word & 0xFFFF:#x}", note)
            if word >> 16:
                self.listing.op(f"movt {core}, #{word >> 16:#x}")

    def add(self, to: str, base: str, value: int, note: str = "") -> None:
        """to = base + value, without another register."""
        operation, rest = ("sub", -value) if value < 0 else ("add", value)
        if not rest and to != base:
            self.listing.op(f"mov {to}, {base}", note)
        if rest & 0xFFF and not _is_immediate(rest):
            self.listing.op(f"{operation}w {to}, {base}, #{rest & 0xFFF}", note)
            rest, base = rest & ~0xFFF, to
        while rest:
            low = (rest & -rest).bit_length() - 1
            chunk = rest & (0xFF << low)
            self.listing.op(f"{operation} {to}, {base}, #{chunk}", note)
            rest, base = rest - chunk, to

    def step(self, name: str, value: int, *, through: str = "r12") -> None:
        """name += value."""
        if value:
            self.get(through, name)
            self.add(through, through, value, f"{name} += {value}")
            self.put(name, through)

    @contextmanager
    def loop(self, times: int, name: str, label: str) -> Iterator[None]:
        """What is written inside runs `times` times; once needs no counter."""
        if times == 1:
            yield
            return
        listing = self.listing
        self.constant("r12", times, f"{name}: {times} turns")
        self.put(name, "r12")
        with listing.repeat(times):
            listing.label(label)
            yield
            self.get("r12", name)
            listing.op("subs r12, r12, #1")
            self.put(name, "r12")
            listing.op(f"bne {label}b", f"next {name}")


def _is_immediate(word: int) -> bool:
    """Whether Thumb-2 encodes a word in an instruction: a byte shifted, or repeated."""
    if word < 256:
        return True
    low = (word & -word).bit_length() - 1
    if word >> low < 256:
        return True
    byte, high = word & 0xFF, word >> 8 & 0xFF
    return word in (byte * 0x01010101, byte * 0x00010001, high * 0x01000100)
