"""The board table: memory of known boards, with the data sheet that says so."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from refmicro.errors import UsageError


@dataclass(frozen=True)
class Board:
    """One board; sizes in bytes, `source` names the document."""

    id: str
    name: str
    mcu: str
    ram_bytes: int
    flash_bytes: int
    source: str


@functools.cache
def boards() -> dict[str, Board]:
    """All boards by id, in the table's order."""
    text = (Path(__file__).parent / "boards.toml").read_text()
    return {key: Board(id=key, **entry) for key, entry in tomllib.loads(text).items()}


def find_board(identifier: str) -> Board:
    """The board of that id.

    Raises:
        UsageError: if there is none.
    """
    found = boards().get(identifier)
    if found is None:
        raise UsageError(f"no such board: {identifier}", hint="`refmicro boards` lists them all")
    return found
