"""The line protocol of `firmware/common/link.h`, host side: numbered commands, CRC-32, retries.

A framed command is `NUMBER:TEXT*CRC32%`; every line of its answer is `NUMBER:TEXT*CRC32`, the last
one `m-ready`. What does not fit is never taken for an answer. A command that has to be sent again
keeps its number, so that a board that has done it does not do it twice. See
`docs/board-protocol.md`.
"""

from __future__ import annotations

import enum
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from refmicro.errors import EnvironmentMissingError

READY = "m-ready"
REPEATED = "m-repeated"
DAMAGED = "e-[Damaged command]"
ATTEMPTS = 3
ANSWER_BYTES_MAX = 1 << 26
LINE_BYTES_MAX = 4096
_QUIET_S = 0.05
_DRAIN_S = 1.0
_SHOWN_BYTES = 48
_FRAMED = re.compile(rb"(\d{1,10}):([ -~]*)\*([0-9A-F]{8})")


class BoardError(EnvironmentMissingError):
    """A board that is silent, sends what cannot be used, or refuses (exit 5)."""


class Link(Protocol):
    """Bytes to and from a board."""

    def write(self, data: bytes) -> None:
        """Send all bytes; raises `BoardError` if the other side has gone."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, at least one byte; empty when nothing came within the time.

        Raises:
            BoardError: if the other side has gone.
        """


class Kind(enum.Enum):
    """What a line is."""

    OURS = "an answer to the command at hand"
    STALE = "an answer to another command"
    PLAIN = "no framed line"
    WRONG_CRC = "a framed line whose CRC is wrong"


@dataclass(frozen=True)
class Line:
    """One received line: what it is, and its text without number and CRC."""

    kind: Kind
    text: str


def frame(number: int, text: str) -> bytes:
    """The bytes of a framed command.

    Args:
        number: from 0 to 2^32 - 1.
        text: printable ASCII without `%`, `*` and `:`.
    """
    assert not set(text) & set("%*:"), "these characters frame a command"
    body = f"{number}:{text}".encode("ascii")
    return b"%s*%08X%%" % (body, zlib.crc32(body))


def parse_line(raw: bytes, number: int) -> Line:
    """What a line without its end is, to one who waits for answers to command `number`."""
    raw = raw.strip(b"\r\n")
    found = _FRAMED.fullmatch(raw)
    if found is None:
        return Line(Kind.PLAIN, raw.decode("ascii", "backslashreplace"))
    text = found[2].decode("ascii")
    if zlib.crc32(raw[:-9]) != int(found[3], 16):
        return Line(Kind.WRONG_CRC, text)
    return Line(Kind.OURS if int(found[1]) == number else Kind.STALE, text)


@dataclass
class _Failures:
    """What went wrong in the attempts at one command, for the error's words."""

    seen: bytes = b""
    wrong_crc: int = 0
    refused: int = 0

    def error(self, text: str, timeout_s: float) -> BoardError:
        verb = text.split()[0]
        if self.wrong_crc or self.refused:
            side = "answers" if self.wrong_crc else "commands"
            return BoardError(
                f"the line to the board damages {side}: wrong CRC in {ATTEMPTS} attempts at "
                f"`{verb}`",
                hint="check cable and ground, use a lower speed on both sides",
            )
        if not self.seen:
            return BoardError(
                f"the board does not answer `{verb}`: nothing in {ATTEMPTS} attempts of "
                f"{timeout_s:g} s",
                hint="does refmicro's runner run on it, on this port? reset it and try again",
            )
        shown = self.seen[:_SHOWN_BYTES].decode("ascii", "backslashreplace")
        return BoardError(
            f"the board's answer to `{verb}` is not complete or not of this protocol: {shown!r}",
            hint="check the speed (--baud) and that refmicro's runner is on this port",
        )


@dataclass
class Client:
    """Sends commands over a link and returns the lines of their answers.

    Attributes:
        link: where to.
        number: of the next command; start anywhere but where the last session ended.
        timeout_s: for one attempt; callers add the time that their command takes.
    """

    link: Link
    number: int
    timeout_s: float = 3.0
    clock: Callable[[], float] = time.monotonic
    _rest: bytes = field(default=b"", init=False)

    def command(self, text: str, *, extra_s: float = 0.0) -> list[str]:
        """Send one command and return its answer's lines, without the last, `m-ready`.

        `[REPEATED]` is the answer if the board had done it but its first answer was lost.

        Raises:
            BoardError: no usable answer in `ATTEMPTS` attempts, or the board refuses.
        """
        number, self.number = self.number, (self.number + 1) & 0xFFFFFFFF
        failures = _Failures()
        timeout_s = self.timeout_s + extra_s
        for attempt in range(ATTEMPTS):
            if attempt:
                self.resynchronise()
            self.link.write(frame(number, text))
            lines = self._answer(number, timeout_s, failures)
            if lines is not None:
                refusal = next((line for line in lines if line.startswith("e-")), None)
                if refusal is not None:
                    raise BoardError(f"the board refuses `{text.split()[0]}`: {refusal[2:]}")
                return lines
        raise failures.error(text, timeout_s)

    def resynchronise(self) -> None:
        """End what the board may have of a command, and forget what it says to that."""
        self.link.write(b"%")
        self._rest = b""
        end = self.clock() + _DRAIN_S
        while self.clock() < end and self.link.read(_QUIET_S):
            pass

    def _answer(self, number: int, timeout_s: float, failures: _Failures) -> list[str] | None:
        """The lines up to `m-ready`; None if they are not to be had."""
        end = self.clock() + timeout_s
        lines: list[str] = []
        received = 0
        while (left := end - self.clock()) > 0 and received < ANSWER_BYTES_MAX:
            data = self.link.read(left)
            received += len(data)
            failures.seen = (failures.seen + data)[:_SHOWN_BYTES]
            *whole, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > LINE_BYTES_MAX:
                return None
            for raw in whole:
                line = parse_line(raw, number)
                if line.kind is Kind.WRONG_CRC:
                    failures.wrong_crc += 1
                    return None
                if line.kind is Kind.PLAIN and line.text == DAMAGED:
                    failures.refused += 1
                    return None
                if line.kind is Kind.OURS and line.text == READY:
                    return lines
                if line.kind is Kind.OURS:
                    lines.append(line.text)
        return None
