"""The estimate as a table for the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from refmicro.report.units import counted, show_bytes, show_count

PHASES = {
    "create": "when the interpreter is made",
    "init": "by the operators' Init",
    "prepare": "by an operator's Prepare",
    "plan": "by TFLM's planner while it plans",
    "final": "by what stays allocated",
}
"""When the smallest arena is full, by `Peak.phase`."""

PIPE_COLUMNS = 120
"""Width where stdout is no terminal."""

OPERATORS_SHOWN = 40
"""Longer lists show the largest operators; `--json` and `--html` have them all."""


def print_report(document: dict[str, Any]) -> None:
    """Print the contract's document of `estimate` to stdout."""
    # Names of tensors and operators are text as they are: no markup, no emoji.
    console = Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else PIPE_COLUMNS,
    )
    for part in (
        _head(document),
        _totals(document),
        _categories(document["arena"]),
        _peak(document),
        _operators(document),
    ):
        console.print(part)
        console.print()
    for verdict in document.get("budget", ()):
        console.print(_verdict(verdict))


def _head(document: dict[str, Any]) -> Text:
    model = document["model"]
    build = "Cortex-M firmware (ilp32)" if document["abi"] == "ilp32" else "64-bit wheel (lp64)"
    text = Text()
    text.append(model["path"] or "model", style="bold")
    operators = counted(model["operators"], "operator")
    text.append(f"\n{operators} in {counted(model['subgraphs'], 'subgraph')}, for a {build}")
    text.append(f" with {document['kernels']} kernels, TFLM {document['tflm']['wheel']}")
    return text


def _totals(document: dict[str, Any]) -> Table:
    arena = document["arena"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    by = arena["required_by"]
    where = PHASES.get(by["phase"], by["phase"])
    rows = [
        (
            "arena required",
            show_bytes(arena["required_bytes"]),
            f"smallest that works; decided {where}",
        ),
        ("arena used", show_bytes(arena["used_bytes"]), "what arena_used_bytes() will say"),
        (
            "  head",
            show_bytes(arena["head_bytes"]),
            _head_note(arena),
        ),
        ("  tail", show_bytes(arena["tail_bytes"]), "TFLM's own structures and state"),
        (
            "flash",
            show_bytes(document["flash"]["model_bytes"]),
            f"the model, {document['flash']['constant_bytes']:,} B of it constants",
        ),
        ("MACs", show_count(document["macs"]), "one invocation"),
        (
            "read / written",
            f"{show_count(document['read_bytes'])}B / {show_count(document['written_bytes'])}B",
            "each operand once an operator",
        ),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _head_note(arena: dict[str, Any]) -> str:
    live = f"{arena['lower_bound_bytes']:,} B"
    if arena["lower_bound_bytes"] > arena["head_bytes"]:
        return f"planned tensors; {live} live at one time, the offline plan lets some share memory"
    return f"planned tensors; {live} live at one time, no plan that keeps them apart needs less"


def _table() -> Table:
    return Table(box=None, pad_edge=False)


def _titled(title: str, table: Table) -> Group:
    """A title may be wider than its table."""
    return Group(Text(title, style="italic"), table)


def _categories(arena: dict[str, Any]) -> Group:
    table = _table()
    table.add_column("category")
    for title in ("requested", "used", "allocations"):
        table.add_column(title, justify="right")
    for name, row in arena["categories"].items():
        if row["count"]:
            table.add_row(
                name, f"{row['requested_bytes']:,}", f"{row['used_bytes']:,}", str(row["count"])
            )
    return _titled("tail by category", table)


def _peak(document: dict[str, Any]) -> Group:
    peak = document["peak"]
    where = "the inputs" if peak["operator"] is None else f"operator {peak['operator']}"
    name = f" ({peak['name']})" if peak["name"] else ""
    title = f"peak: {peak['live_bytes']:,} B live at {where}{name} of subgraph {peak['subgraph']}"
    table = _table()
    table.add_column("tensor", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("name", overflow="ellipsis", no_wrap=True, max_width=60)
    largest = max((tensor["bytes"] for tensor in peak["tensors"]), default=1)
    for tensor in peak["tensors"][:10]:
        bar = "█" * max(1, round(20 * tensor["bytes"] / max(largest, 1)))
        index = f"{tensor['subgraph']}:{tensor['index']}"
        table.add_row(index, f"{tensor['bytes']:,}", bar, tensor["name"])
    if len(peak["tensors"]) > 10:
        table.add_row("", "", "", f"and {len(peak['tensors']) - 10} more")
    if peak["scratch_bytes"]:
        table.add_row("scratch", f"{peak['scratch_bytes']:,}", "", "")
    return _titled(title, table)


def _operators(document: dict[str, Any]) -> Group:
    rows = document["operators"]
    shown = rows
    title = "operators"
    if len(rows) > OPERATORS_SHOWN:
        key = sorted(rows, key=lambda row: (-row["live_bytes"], -row["macs"]))[:OPERATORS_SHOWN]
        wanted = {(row["subgraph"], row["index"]) for row in key}
        shown = [row for row in rows if (row["subgraph"], row["index"]) in wanted]
        title = f"the {OPERATORS_SHOWN} of {len(rows)} operators with most live bytes"
    table = _table()
    table.add_column("operator", no_wrap=True)
    for column in ("runs", "MACs", "live", "scratch", "persistent", "reads", "writes"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in shown:
        runs = "?" if row["executions"] is None else str(row["executions"])
        table.add_row(
            f"{row['subgraph']}:{row['index']} {row['name']}",
            runs,
            *(
                f"{row[key]:,}" if row[key] else "·"
                for key in (
                    "macs",
                    "live_bytes",
                    "scratch_bytes",
                    "persistent_bytes",
                    "read_bytes",
                    "written_bytes",
                )
            ),
        )
    return _titled(title, table)


def _verdict(verdict: dict[str, Any]) -> Text:
    word, style = ("fits", "green") if verdict["fits"] else ("too large", "bold red")
    text = Text(f"{verdict['what']} of {verdict['of']}: ", style="bold")
    text.append(f"{verdict['needs']:,} of {verdict['limit']:,}, ")
    text.append(word, style=style)
    return text
