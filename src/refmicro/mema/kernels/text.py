"""Small helpers for writing C."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable


def indent(lines: Iterable[str], levels: int = 1) -> list[str]:
    """Lines moved right by four columns a level; empty ones stay empty."""
    return [("    " * levels + line) if line else "" for line in lines]


def comment(text: str) -> list[str]:
    """A C comment; paragraphs are lines of `text`."""
    wrapped = [
        part
        for line in text.splitlines()
        for part in (textwrap.wrap(line, 92, subsequent_indent="  ") or [""])
    ]
    return ["/* " + wrapped[0], *(f" * {line}".rstrip() for line in wrapped[1:]), " */"]


def declare(kind: str, assignments: Iterable[tuple[str, str]]) -> list[str]:
    """One declaration a line."""
    return [f"{kind} {name} = {value};" for name, value in assignments]
