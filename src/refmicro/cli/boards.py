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
    from refmicro.board.table import boards

    rows = list(boards().values())
    if args.json:
        document = {"schema_version": 1, "boards": [dataclasses.asdict(row) for row in rows]}
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
    Console().print(table)
    return 0
