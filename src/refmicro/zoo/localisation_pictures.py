"""Pictures of `localisation_report`: F1 against RAM, confusion matrices, a walked path."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from refmicro.zoo.localisation import Result, stage_answers
from refmicro.zoo.localisation_page import model_title

_COLOURS = {"A": "tab:blue", "B": "tab:orange", "C": "tab:green", "D": "tab:red", "UJI": "tab:grey"}
_MARKS = ("o", "s", "^", "D", "v", "P")
_PATH_WINDOWS = 400


def pictures(document: dict[str, Any], result: Result, folder: Path) -> dict[Path, bytes]:
    """PNG files by path."""
    return {
        folder / "localisation.ram.png": _ram(document),
        folder / "localisation.confusion.png": _confusions(document),
        folder / "localisation.path.png": _path(result),
    }


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    _pyplot().close(figure)
    return buffer.getvalue()


def _ram(document: dict[str, Any]) -> bytes:
    figure, axes = _pyplot().subplots(figsize=(10, 5), layout="constrained")
    names = list(dict.fromkeys(row["model"] for row in document["rows"]))
    for row in document["rows"]:
        found = row["stages"]["qat"]["f1"]
        axes.errorbar(
            row["memory"]["int8"]["required_bytes"] / 1000,
            100 * found["mean"],
            100 * (found["half"] or 0),
            fmt=_MARKS[names.index(row["model"]) % len(_MARKS)],
            color=_COLOURS.get(row["home"], "black"),
            capsize=3,
            label=f"{row['home']} {model_title(row['model'])}",
        )
        if "published" in row:
            axes.plot(
                row["published"][4],
                row["published"][3],
                _MARKS[names.index(row["model"]) % len(_MARKS)],
                color=_COLOURS.get(row["home"], "black"),
                markerfacecolor="none",
            )
    for limit in document["limits_kib"]:
        axes.axvline(limit * 1.024, linestyle="--", color="grey", linewidth=0.8)
    axes.set_ylim(max(0, axes.get_ylim()[0]), 100)
    axes.set_xscale("log")
    axes.set_xlabel(
        "filled: required arena on a Cortex-M, int8 QAT; hollow: the paper's int8 file on its own "
        "data, KB"
    )
    axes.set_ylabel("macro-F1 on free living, %")
    figure.legend(loc="outside right center", fontsize="x-small")
    axes.grid(alpha=0.3)
    return _png(figure)


def _confusions(document: dict[str, Any]) -> bytes:
    """The first model of each family, at each home: shares of the truth."""
    homes = [home for home in document["sites"] if home != "UJI"] or list(document["sites"])
    chosen = []
    for family in ("mdcsa", "mamba"):
        for home in homes:
            same = [key for key in document["confusions"] if key.startswith(f"{home} {family}")]
            chosen += same[:1]
    columns = max(1, len(homes))
    rows = -(-len(chosen) // columns)
    size = (4.2 * columns, 4.0 * rows)
    figure, axes = _pyplot().subplots(rows, columns, figsize=size, layout="constrained")
    for place, key in zip(np.atleast_1d(axes).reshape(-1), chosen, strict=False):
        table = np.array(document["confusions"][key], float)
        table /= np.maximum(table.sum(1, keepdims=True), 1)
        home, model = key.split()
        rooms = document["sites"][home]["classes"]
        place.imshow(table, vmin=0, vmax=1, cmap="Blues")
        place.set_title(f"{home}: {model_title(model)}, QAT int8", fontsize="small")
        place.set_xticks(range(len(rooms)), rooms, rotation=90, fontsize="x-small")
        place.set_yticks(range(len(rooms)), rooms, fontsize="x-small")
    return _png(figure)


def _path(result: Result) -> bytes:
    """Where a person walked, coloured by the room that the Mamba says, mistakes crossed."""
    homes = [home for home in result.trained if home != "UJI"] or list(result.trained)
    home = homes[min(1, len(homes) - 1)]
    prepared = result.prepared[home]
    names = list(result.trained[home])
    name = next((name for name in names if name.startswith("mamba")), names[0])
    part = prepared.test.chosen(np.arange(min(_PATH_WINDOWS, len(prepared.test))))
    found = stage_answers(result.trained[home][name].fits["qat"][0], "qat", part)
    truth = part.labels[:, -1]
    rooms = prepared.site.classes
    pyplot = _pyplot()
    figure, (plan, line) = pyplot.subplots(
        2, 1, figsize=(10, 9), height_ratios=(3, 2), layout="constrained"
    )
    plan.plot(part.places[:, 0], part.places[:, 1], color="lightgrey", linewidth=0.8)
    colours = pyplot.get_cmap("tab20")
    for room, text in enumerate(rooms):
        here = found == room
        plan.plot(*part.places[here].T, ".", color=colours(room % 20), label=text)
    wrong = found != truth
    plan.plot(*part.places[wrong].T, "x", color="black", markersize=5, label="wrong")
    plan.set_aspect("equal")
    plan.set_title(
        f"home {home}, {model_title(name)}, QAT int8: {len(part)} windows, floors on one another; "
        "colour is the predicted room"
    )
    plan.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    line.step(range(len(part)), truth, where="post", color="lightgrey", linewidth=4, label="walked")
    line.step(range(len(part)), found, where="post", color="tab:blue", linewidth=1, label="said")
    line.set_yticks(range(len(rooms)), rooms, fontsize="x-small")
    line.set_xlabel("window, one each 2 s")
    line.legend(fontsize="x-small")
    return _png(figure)
