"""Writes `docs/results/boards.md`: every model of the repository on every emulated board.

Usage: python benchmarks/boards_table.py [MODEL ...]

Each figure is from one `refmicro validate`: golden vectors by TFLM, bytes compared on the host.
With names of models given, the table goes to stdout instead. Takes some minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from refmicro._files import write_files
from refmicro.board.build import compiler
from refmicro.board.emulated import EMULATED_BOARDS
from refmicro.board.emulator import emulator_program
from refmicro.errors import RefmicroError, UnsupportedError
from refmicro.model.reader import read_model
from refmicro.report.validation_text import FLASH_SECTIONS
from refmicro.validation import (
    Vectors,
    model_name,
    recorded_vectors,
    stored_vectors,
    validate_emulated,
)
from tests.models import ALL, REFUSED, TFLM

PAGE = ROOT / "docs" / "results" / "boards.md"
COUNT = 4
ROWS_MAX = 64
"""Invocations of one model on one board; longer golden vectors are cut to whole streams."""

HEAD = """\
# Models on emulated boards

Written by `python benchmarks/boards_table.py` with {emulator} and
{compiler}. Every row compared {rows} to {most} invocations,
all output bytes, with what TFLM answered. RAM is the model's: static memory and the stack of an
invocation. Flash is the model's object file: code, weights, tables.
Instructions, loads and stores are those of one invocation, counted by the emulator (mean; vector
loads count by element). They are exact, and no cycles.

| model | board | bytes | RAM | of it stack | flash | instructions | loads | stores |
|---|---|---|---:|---:|---:|---:|---:|---:|
"""


def vectors_of(name: str, path: Path) -> Vectors:
    """Golden vectors of the repository, or for TFLM's models the oracle's."""
    model = read_model(path)
    if name in TFLM:
        return recorded_vectors(model, model_name(path), count=COUNT, seed=0, steps=None)
    found = stored_vectors(model, path.parent)
    streams = max(1, min(found.count, ROWS_MAX // found.steps))
    rows = streams * found.steps
    cut = [tuple(array[:rows] for array in arrays) for arrays in (found.inputs, found.outputs)]
    return Vectors(*cut, streams, found.steps, found.seed, found.source)


def rows_of(name: str, path: Path) -> tuple[list[str], list[int]]:
    """A row for each board, and how many invocations each compared."""
    try:
        vectors = vectors_of(name, path)
    except RefmicroError as error:
        return [f"| {name} | | {error.message} | | | | | | |"], []
    rows, counts = [], []
    for board in EMULATED_BOARDS.values():
        print(f"{name} on {board.id}", file=sys.stderr)
        try:
            found = validate_emulated(read_model(path), path, board, vectors).document
        except UnsupportedError as error:
            return [*rows, f"| {name} | | no C: {error.message} | | | | | | |"], counts
        except RefmicroError as error:
            rows.append(f"| {name} | {board.id} | {error.message} | | | | | | |")
            continue
        counts.append(found["invocations"])
        rows.append(row_of(name, board.id, found))
    return rows, counts


def row_of(name: str, board: str, found: dict) -> str:
    """One row of the table."""
    ram, flash, total = found["ram"], found["flash"]["model"], found["counts"]
    runs = total["invocations"]
    stored = sum(flash.get(section, 0) for section in FLASH_SECTIONS)
    cells = [
        name,
        board,
        "equal" if found["equal"] else f"{found['mismatches']:,} of {found['values']:,} differ",
        f"{ram['model_bytes']:,}",
        f"{ram['invoke_stack_bytes']:,}",
        f"{stored:,}",
        f"{total['instructions'] / runs:,.0f}",
        f"{sum(total['loads'].values()) / runs:,.0f}",
        f"{sum(total['stores'].values()) / runs:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def first_line(program: str) -> str:
    """What a tool says it is."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def main() -> None:
    """Measure and write."""
    names = sys.argv[1:] or [name for name in ALL if name not in REFUSED]
    rows: list[str] = []
    counts: list[int] = []
    for name in names:
        more, compared = rows_of(name, ALL[name])
        rows += more
        counts += compared
        if sys.argv[1:]:
            print("\n".join(more))
    if not sys.argv[1:]:
        board = EMULATED_BOARDS["mps2-an386"]
        head = HEAD.format(
            emulator=first_line(emulator_program(board)).split(" (")[0],
            compiler=first_line(compiler(board)),
            rows=min(counts),
            most=max(counts),
        )
        write_files({PAGE: (head + "\n".join(rows) + "\n").encode()})


if __name__ == "__main__":
    main()
