"""Assembly text whose instructions and memory accesses are counted while it is written.

Every instruction is added by one call that says what it loads and stores, and every loop by a
`with` block that says how often it runs. The sum over the text is what a processor executes, to the
instruction, because nothing a kernel does depends on data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Counts:
    """What a piece of code executes: instructions, and words, halves or bytes loaded and stored.

    `stack` accesses save and restore registers, `frame` ones are a convolution's padded rows on the
    stack, `scale` is multipliers and shifts, `argument` reads the filter's address from
    `struct mema_weights`.
    """

    instructions: int = 0
    input_loads: int = 0
    input_bytes: int = 0
    filter_loads: int = 0
    bias_loads: int = 0
    scale_loads: int = 0
    argument_loads: int = 0
    stack_loads: int = 0
    stack_stores: int = 0
    frame_loads: int = 0
    frame_stores: int = 0
    output_stores: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __mul__(self, times: int) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) * times for f in fields(self)})

    @property
    def loads(self) -> int:
        """All loads."""
        return sum(getattr(self, f.name) for f in fields(self) if f.name.endswith("_loads"))

    @property
    def stores(self) -> int:
        """All stores."""
        return self.stack_stores + self.frame_stores + self.output_stores

    @property
    def accesses(self) -> int:
        """Loads and stores."""
        return self.loads + self.stores


@dataclass
class Part:
    """Lines under one title that run equally often."""

    title: str
    runs: int
    counts: Counts = Counts()
    lines: list[tuple[str, str]] = field(default_factory=list)


class Listing:
    """Instructions in order, in parts; `runs` is how often the next instruction runs in all."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.runs = 1
        self._title = ""

    def title(self, text: str) -> None:
        """Name what follows."""
        self._title = text
        self.parts.append(Part(text, self.runs))

    def op(self, text: str, note: str = "", **accesses: int) -> None:
        """One instruction and what it accesses, by the names of `Counts`."""
        self._part().lines.append((text, note))
        self._part().counts += Counts(instructions=1, **accesses)

    def label(self, text: str) -> None:
        """A place to branch to."""
        self._part().lines.append((f"{text}:", ""))

    @contextmanager
    def repeat(self, times: int) -> Iterator[None]:
        """What is added inside runs `times` times for each run of what is around."""
        around = self.runs
        self.runs *= times
        yield
        self.runs = around

    @contextmanager
    def happening(self, runs: int) -> Iterator[None]:
        """What is added inside runs `runs` times in all."""
        around, self.runs = self.runs, runs
        yield
        self.runs = around

    def total(self) -> Counts:
        """What one call executes."""
        return sum((part.counts * part.runs for part in self.parts), Counts())

    def _part(self) -> Part:
        if not self.parts or self.parts[-1].runs != self.runs:
            self.parts.append(Part(self._title, self.runs))
        return self.parts[-1]
