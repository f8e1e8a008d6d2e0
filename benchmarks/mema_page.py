"""The page and the picture of `mema_bench.py`."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable

HEAD = """# MEMA kernels on a Cortex-M4

Written by `python benchmarks/mema_bench.py`: one program with all kernels and shapes, run once in
QEMU (`mps2-an386`) under the counting plugin. All outputs had the CRC-32 that refmicro's integers
have, and each MEMA kernel executed exactly the instructions, loads and stores that its text
predicts, stack included; the command writes nothing else.

Shapes are (M channels, K depth, N rows). Accesses are loads plus stores, a word, half or byte each.
*MEMA* is `refmicro.mema.kernels.smlad`; *plain C* three loops, *2x2* two channels and two rows with
SMLAD (`firmware/apps/mema_bench`), both per-channel and compiled with -O2, what the compiler spills
included. *CMSIS-NN* is one Invoke of TFLM with CMSIS-NN, its interpreter included:
`benchmarks/cmsis_nn_m4.json`. Ratios are theirs over MEMA's, so more is better. Rows of int8 values
whose length is no multiple of 4 are read in words from any address, by CMSIS-NN as by these
kernels; the emulator counts such a load once, a bus may need two turns.

The *floor* is that of the register inequality (`docs/mema.md`): no tile, whole or fractional, loads
less with the 14 registers of the core and the 32 of its floating-point unit. A tile of 4 channels
and 4 rows fills them: 8 sums at work, 6 core registers that unpack a step of two rows, 8 idle sums,
8 filter words, 4 row pointers and up to 9 other pointers and counters. A third pair of rows would
need 8 more for sums.

"""

Rows = list[dict]


def page(table: Rows, baseline: dict) -> str:
    """The Markdown page."""
    int8 = [row for row in table if row["bits"] == 8]
    listed = [row for row in int8 if "cmsis_nn" in row]
    layers, vectors = listed[:20], [row for row in listed if row["shape"][2] == 1]
    ours = [row for row in int8 if "cmsis_nn" not in row]
    int16 = [row for row in table if row["bits"] == 16]
    parts = [HEAD, f"Baseline: {baseline['source']}.\n\n", _summary(layers, vectors)]
    parts += ["## As FULLY_CONNECTED over N rows, int8, per-tensor\n\n", _against(listed, "fc")]
    parts += ["## As 1x1 CONV_2D, int8, per-channel\n\n", _against(listed, "conv")]
    parts += [
        "## Shapes of our models, int8, per-channel\n\nProducts of the golden keyword-spotting ",
        "models, and projections over 2 to 4 frames, where one pass over the filter serves ",
        "all.\n\n",
        _among(ours),
        "## The same shapes with int16 inputs (int16x8), per-channel\n\n",
        _among(int16),
        "## Predicted and counted, MEMA, int8\n\n",
        _predicted(int8),
        "![accesses and instructions for each product](mema.png)\n",
    ]
    return "".join(parts)


def _summary(layers: Rows, vectors: Rows) -> str:
    lines = ["| against TFLM with CMSIS-NN | accesses | instructions |", "|---|---|---|"]
    for title, kind, rows, pick in (
        ("FULLY_CONNECTED, 20 layers, least", "fc", layers, min),
        ("FULLY_CONNECTED, 20 layers, geometric mean", "fc", layers, geometric_mean),
        ("1x1 CONV_2D, 20 layers, least", "conv", layers, min),
        ("1x1 CONV_2D, 20 layers, geometric mean", "conv", layers, geometric_mean),
        ("FULLY_CONNECTED, matrix-vector, least", "fc", vectors, min),
    ):
        values = [
            f"{pick([_ratio(row, kind, what) for row in rows]):.2f} times fewer"
            for what in ("accesses", "instructions")
        ]
        lines.append(f"| {title} | {values[0]} | {values[1]} |")
    return "\n".join(lines) + "\n\n"


def _ratio(row: dict, kind: str, what: str) -> float:
    return row["cmsis_nn"][f"{kind}_{what}"] / row[kind][what]


def _against(rows: Rows, kind: str) -> str:
    columns: list[tuple[str, Callable[[dict], str]]] = [
        ("MEMA accesses", lambda row: f"{row[kind]['accesses']:,}"),
        ("per MAC", lambda row: f"{row[kind]['accesses'] / _macs(row):.3f}"),
        ("floor", lambda row: f"{row[kind]['floor']:,}"),
        ("CMSIS-NN", lambda row: f"{row['cmsis_nn'][f'{kind}_accesses']:,}"),
        ("ratio", lambda row: f"**{_ratio(row, kind, 'accesses'):.2f}**"),
        ("MEMA instructions", lambda row: f"{row[kind]['instructions']:,}"),
        ("per MAC", lambda row: f"{row[kind]['instructions'] / _macs(row):.2f}"),
        ("CMSIS-NN", lambda row: f"{row['cmsis_nn'][f'{kind}_instructions']:,}"),
        ("ratio", lambda row: f"**{_ratio(row, kind, 'instructions'):.2f}**"),
    ]
    return _table(rows, columns)


def _among(rows: Rows) -> str:
    columns: list[tuple[str, Callable[[dict], str]]] = [
        ("MEMA accesses", lambda row: f"{row['conv']['accesses']:,}"),
        ("floor", lambda row: f"{row['conv']['floor']:,}"),
        ("2x2", lambda row: f"{row['two_by_two']['accesses']:,}"),
        ("plain C", lambda row: f"{row['plain']['accesses']:,}"),
        ("2x2 / MEMA", lambda row: f"{_times(row, 'two_by_two', 'accesses'):.2f}"),
        ("plain / MEMA", lambda row: f"{_times(row, 'plain', 'accesses'):.2f}"),
        ("MEMA instructions", lambda row: f"{row['conv']['instructions']:,}"),
        ("2x2 / MEMA", lambda row: f"{_times(row, 'two_by_two', 'instructions'):.2f}"),
        ("plain / MEMA", lambda row: f"{_times(row, 'plain', 'instructions'):.2f}"),
    ]
    return _table(rows, columns)


def _predicted(rows: Rows) -> str:
    columns: list[tuple[str, Callable[[dict], str]]] = [
        (f"{kind} {what}, {how}", lambda row, k=kind, key=how_key + what: f"{row[k][key]:,}")
        for kind in ("fc", "conv")
        for what in ("loads", "stores")
        for how, how_key in (("predicted", "predicted_"), ("counted", ""))
    ]
    columns += [("2x2", lambda row: f"{row['two_by_two']['accesses']:,}")]
    columns += [("plain C", lambda row: f"{row['plain']['accesses']:,}")]
    return _table(rows, columns)


def _times(row: dict, kind: str, what: str) -> float:
    return row[kind][what] / row["conv"][what]


def _macs(row: dict) -> int:
    return math.prod(row["shape"])


def _table(rows: Iterable[dict], columns: list[tuple[str, Callable[[dict], str]]]) -> str:
    lines = ["| M, K, N | " + " | ".join(name for name, _ in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in rows:
        cells = [", ".join(map(str, row["shape"])), *(show(row) for _, show in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def geometric_mean(values: list[float]) -> float:
    """Of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def picture(table: Rows) -> bytes:
    """Accesses and instructions of one product, for the shapes of the baseline, as PNG.

    Raises:
        ImportError: without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in table if row["bits"] == 8 and "cmsis_nn" in row]
    labels = [",".join(map(str, row["shape"])) for row in rows]
    figure, axes = pyplot.subplots(2, 1, figsize=(12, 9), sharex=True)
    for axis, what in zip(axes, ("accesses", "instructions"), strict=True):
        series = {
            "plain C": [row["plain"][what] for row in rows],
            "2x2 SMLAD": [row["two_by_two"][what] for row in rows],
            "TFLM with CMSIS-NN, FULLY_CONNECTED": [row["cmsis_nn"][f"fc_{what}"] for row in rows],
            "TFLM with CMSIS-NN, CONV_2D": [row["cmsis_nn"][f"conv_{what}"] for row in rows],
            "MEMA": [row["conv"][what] for row in rows],
        }
        for i, (name, values) in enumerate(series.items()):
            places = [x + (i - 2) * 0.17 for x in range(len(rows))]
            each = [value / _macs(row) for value, row in zip(values, rows, strict=True)]
            axis.bar(places, each, 0.17, label=name)
        if what == "accesses":
            floors = [row["conv"]["floor"] / _macs(row) for row in rows]
            axis.scatter(range(len(rows)), floors, marker="_", color="black", label="floor")
        axis.set_ylabel(f"{what} for each product")
        axis.grid(axis="y", alpha=0.3)
    axes[1].set_xticks(range(len(rows)), labels, rotation=60, ha="right", fontsize=8)
    axes[0].set_title("int8 matrix products (M, K, N) on a Cortex-M4, counted in QEMU")
    axes[0].legend(fontsize=8, loc="upper right")
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return content.getvalue()
