"""What a validation on a board found, as text for the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from refmicro.report.units import counted, show_bytes

PIPE_COLUMNS = 120
OPERATORS_SHOWN = 40
FLASH_SECTIONS = (".start", ".text", ".rodata", ".ARM.exidx", ".data")
"""What is stored in flash, first values of variables included."""


def print_validation(document: dict[str, Any]) -> None:
    """Print the document of `validate` to stdout."""
    piped = not sys.stdout.isatty()
    width = PIPE_COLUMNS if piped else None
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    console.print(_verdict(document), soft_wrap=piped)
    console.print()
    console.print(_memory(document))
    if document["counts"] is not None:
        console.print()
        console.print(_counts(document["counts"]))


def _verdict(document: dict[str, Any]) -> Text:
    text = Text()
    text.append("equal  " if document["equal"] else "DIFFERS  ", style="bold")
    vectors, board = document["vectors"], document["board"]
    streams = counted(vectors["count"], "vector")
    if vectors["steps"] > 1:
        streams = f"{counted(vectors['count'], 'stream')} of {vectors['steps']} steps"
    text.append(f"{document['model']['path']} on {board['id']}")
    text.append(f" ({board['name']})" if board["cpu"] else "")
    text.append(f": {counted(document['values'], 'value')} of {streams}, ")
    text.append(f"{document['mismatches']:,} differ")
    first = document["first"]
    if first is not None:
        text.append(
            f"\n         first at stream {first['stream']}, step {first['step']}, "
            f"output {first['output']}, element {first['index']}: "
            f"TFLM {first['want']}, board {first['got']}"
        )
    return text


def _memory(document: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    ram = document["ram"]
    for key, name, about in (
        ("model_bytes", "RAM of the model", "its static memory and the stack of an invocation"),
        ("model_static_bytes", "  static", "arena and state"),
        ("invoke_stack_bytes", "  stack", "the most that one invocation used"),
        ("program_static_bytes", "RAM of the program", ".data and .bss, runner and model"),
        ("stack_used_bytes", "stack high-water", f"of {show_bytes(ram['stack_bytes'])}"),
    ):
        if ram[key] is not None:
            table.add_row(name, show_bytes(ram[key]), about)
    if ram["stack_used_bytes"] and ram["stack_used_bytes"] >= ram["stack_bytes"]:
        table.add_row("", "", "the stack is full and may have overflowed: give it more")
    if document["flash"] is not None:
        for key, name in (("model", "flash of the model"), ("program", "flash of the program")):
            sizes = document["flash"][key] or {}
            stored = {part: sizes[part] for part in FLASH_SECTIONS if sizes.get(part)}
            parts = ", ".join(f"{part} {size:,}" for part, size in stored.items())
            if stored:
                table.add_row(name, show_bytes(sum(stored.values())), parts)
    if document["counts"] is None:
        mean_us = document["time_us"] / document["invocations"]
        table.add_row("time", f"{mean_us:,.0f} us", "of an invocation, by the board's clock")
    return table


def _counts(counts: dict[str, Any]) -> Table:
    """Mean of one invocation, in all and by operator, the most expensive ones if there are many."""
    regions = [name for name, number in counts["loads"].items() if number]
    writes = [name for name, number in counts["stores"].items() if number]
    table = Table(box=None, pad_edge=False, title="one invocation (mean)", title_justify="left")
    table.add_column("operator")
    for column in (
        "instructions",
        *(f"loads\n{name}" for name in regions),
        *(f"stores\n{name}" for name in writes),
    ):
        table.add_column(column, justify="right", no_wrap=True)  # numbers are never cut
    runs = counts["invocations"]

    def add(name: str, row: dict[str, Any], style: str = "") -> None:
        numbers = [row["instructions"], *(row["loads"][key] for key in regions)]
        numbers += [row["stores"][key] for key in writes]
        table.add_row(name, *(_mean(number, runs) for number in numbers), style=style)

    add("all", counts, "bold")
    rows = counts["operators"]
    dearest = sorted(rows, key=lambda row: -row["instructions"])[:OPERATORS_SHOWN]
    shown = [row for row in rows if row in dearest]
    for row in shown:
        add(f"{row['number']} {row['name']}", row)
    if len(shown) < len(rows):
        table.add_row(f"and {len(rows) - len(shown)} smaller ones")
    return table


def _mean(total: int, runs: int) -> str:
    return f"{total // runs:,}" if total % runs == 0 else f"{total / runs:,.1f}"
