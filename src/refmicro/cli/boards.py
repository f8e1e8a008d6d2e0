"""`refmicro boards`: the board table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro.board.emulated import EMULATED_BOARDS
    from refmicro.board.table import boards

    rows, emulated = list(boards().values()), list(EMULATED_BOARDS.values())
    if args.json:
        document = {
            "schema_version": 1,
            "boards": [dataclasses.asdict(row) for row in rows],
            "emulated": [
                {"id": f"qemu:{row.id}", "name": row.name, "cpu": row.cpu} for row in emulated
            ],
        }
        json.dump(document, sys.stdout, indent=1)
        print()
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title, justify in (
        ("id", "left"),
        ("board", "left"),
        ("microcontroller", "left"),
        ("RAM", "right"),
        ("flash", "right"),
    ):
        table.add_column(title, justify=justify)
    for row in rows:
        sizes = (f"{row.ram_bytes // 1024} KiB", f"{row.flash_bytes // 1024} KiB")
        table.add_row(row.id, row.name, row.mcu, *sizes)
    console = Console()
    console.print(table)
    emulators = Table(box=None, pad_edge=False, title="emulated", title_justify="left")
    for title in ("for `refmicro validate --board`", "board", "core"):
        emulators.add_column(title)
    for row in emulated:
        emulators.add_row(f"qemu:{row.id}", row.name, row.cpu)
    console.print()
    console.print(emulators)
    return 0
