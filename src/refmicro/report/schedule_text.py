"""The document of `refmicro schedule` as tables for the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from refmicro.report.units import show_count

PIPE_COLUMNS = 120
"""Width where stdout is no terminal."""

WIDE_COLUMNS = 100
"""From here on a product's line has room for all of its words."""


def print_schedule(document: dict[str, Any]) -> None:
    """Print the document to stdout."""
    console = Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else PIPE_COLUMNS,
    )
    console.print(_head(document))
    console.print()
    if document["model"] is None:
        for part in _product(document["products"][0], document["target"]):
            console.print(part)
            console.print()
    else:
        console.print(_products(document, wide=console.width >= WIDE_COLUMNS))
        console.print()
    if document["uncovered"]:
        names = [
            f"{item['subgraph']}:{item['index']} {item['name']}" for item in document["uncovered"]
        ]
        console.print(f"no schedule covers: {', '.join(names)}\n")
    if document["frames"]:
        console.print(Text("frames a pass, matrix-vector products together", style="italic"))
        console.print(_frames(document["frames"]))


def _head(document: dict[str, Any]) -> Text:
    target = document["target"]
    what = document["model"]["path"] if document["model"] else "product"
    return Text.assemble(
        (what, "bold"),
        f" for {target['name']}: {target['core']}, {', '.join(target['instructions'])}",
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(columns):
        table.add_column(title, justify="left" if number == 0 else "right")
    return table


def _tile(entry: dict[str, Any]) -> str:
    return f"{entry['tile']['m']} x {entry['tile']['n']}"


def _ratio(count: int, floor: int) -> str:
    return f"{count / floor:.3f}"


def _product(entry: dict[str, Any], target: dict[str, Any]) -> list[Any]:
    """Everything about one product."""
    sizes = (
        f"{entry['output_depth']} channels, depth {entry['accum_depth']}, {entry['rows']} rows, "
        f"int{entry['input_bits']}: {show_count(entry['macs'])} MACs"
    )
    orders = _table("loop order", "tile (channels x rows)", "spare registers", "accesses", "a MAC")
    for other in sorted(entry["orders"], key=lambda other: other["accesses"]):
        per_mac = f"{other['accesses'] / entry['macs']:.4f}"
        row = (str(other["spare_registers"]), f"{other['accesses']:,}", per_mac)
        orders.add_row(other["order"], _tile(other), *row)
    orders.add_row("floor of these registers", "", "", f"{entry['floor']:,}", "")
    counts = _table("accesses", "count")
    for kind in ("loads", "stores"):
        for name, count in entry[kind].items():
            counts.add_row(f"{name} {kind}", f"{count:,}")
    above = _ratio(entry["accesses"], entry["floor"])
    counts.add_row("all", f"{entry['accesses']:,}  ({above} of the floor)")
    return [sizes, orders, counts, _levels(entry["levels"], target), *_kernel(entry["kernel"])]


def _levels(levels: dict[str, Any], target: dict[str, Any]) -> Table:
    waits = target["flash_wait_states"]
    title = f"cycles ({waits} wait states)" if waits != 1 else "cycles (1 wait state)"
    table = _table("memory", "SRAM loads", "SRAM stores", "flash loads", "scratch", title)
    rows = {"filter read from flash": levels, "filter copied to SRAM": levels.get("staged")}
    for name, level in rows.items():
        if level:
            table.add_row(
                name,
                f"{level['sram']['loads']:,}",
                f"{level['sram']['stores']:,}",
                f"{level['flash']['loads']:,}",
                f"{level['scratch_bytes']:,} B",
                f"{level['access_cycles']:,}",
            )
    return table


def _kernel(kernel: dict[str, Any] | None) -> list[str]:
    if kernel is None:
        return ["no kernel is generated: both factors are activations"]
    what = f"{kernel['order']}, tile {_tile(kernel)}"
    text = f"generated kernel: {what}, {kernel['accesses']:,} accesses"
    if "instructions" in kernel:
        stack, instructions = kernel["stack_accesses"], kernel["instructions"]
        text += f" and {stack:,} of its stack, {instructions:,} instructions"
    return [text]


def _products(document: dict[str, Any], *, wide: bool) -> Table:
    """One line a product; without `wide` the orders' names are short."""
    table = _table(
        "operator",
        "M",
        "K",
        "N",
        "type",
        "order",
        "tile",
        "accesses",
        "a MAC",
        "to floor",
        "kernel",
    )
    for entry in document["products"]:
        kernel = entry["kernel"]
        batches = f" x{entry['batches']}" if entry["batches"] > 1 else ""
        table.add_row(
            f"{entry['subgraph']}:{entry['index']} {entry['name']}{batches}",
            str(entry["output_depth"]),
            str(entry["accum_depth"]),
            str(entry["rows"]),
            f"int{entry['input_bits']}",
            entry["order"] if wide else entry["order"].replace("-stationary", ""),
            _tile(entry),
            f"{entry['accesses']:,}",
            f"{entry['accesses_per_mac']:.3f}",
            _ratio(entry["accesses"], entry["floor"]),
            f"{kernel['accesses']:,}" if kernel else "none",
        )
    total = document["total"]
    ends = (f"{total['accesses']:,}", f"{total['accesses'] / total['macs']:.3f}")
    ratio = _ratio(total["accesses"], total["floor"])
    table.add_row("total", *[""] * 6, *ends, ratio, "", style="bold")
    return table


def _frames(frames: list[dict[str, Any]]) -> Table:
    table = _table("frames", "delay", "accesses a frame", "flash loads a frame", "activations")
    for item in frames:
        table.add_row(
            str(item["frames"]),
            f"{item['delay_frames']} frames",
            f"{item['accesses'] / item['frames']:,.0f}",
            f"{item['flash_loads'] / item['frames']:,.0f}",
            f"{item['activation_bytes']:,} B",
        )
    return table
