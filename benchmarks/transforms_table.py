"""Writes `docs/results/transforms.md`: source against result of `refmicro transform`, both ABIs.

Usage: python benchmarks/transforms_table.py [MODEL ...]

Every row is one run of the command, which proves its result in refmicro and in TFLM before it
writes it. With models given, the table goes to stdout instead. Takes some minutes.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from refmicro._files import write_files
from refmicro.model.writer import write_model
from tests.models import ALL, REFUSED, TFLM
from tests.transform.convolutions import NETWORKS
from tests.transform.unrolled import unrolled

PAGE = ROOT / "docs" / "results" / "transforms.md"

STEPS = (
    ("--reorder",),
    ("--plan",),
    ("--reorder", "--plan"),
    ("--fuse", "--reorder", "--plan"),
    ("--fuse", "--fuse-scan", "--reorder", "--plan"),
)

WINDOW = ("--stream", "variable", "--mean", "window")

STREAMS = {
    "front_whole_L49_pc": (("--stream", "variable", "--fuse", "--reorder", "--plan"),),
    "g_elu_resvar_int8": (("--stream", "variable", "--fuse", "--reorder", "--plan"),),
    "u2_split_int8": (
        ("--fuse-scan", *WINDOW, "--fuse", "--reorder", "--plan"),
        ("--fuse-scan", "--mean", "window", "--stream", "--while", "49", "--fuse", "--plan"),
    ),
    "u3_elu_trained_int8": (
        ("--fuse-scan", *WINDOW, "--fuse", "--reorder", "--plan"),
        ("--fuse-scan", "--mean", "window", "--stream", "--while", "49", "--fuse", "--plan"),
    ),
}
"""Models that become another kind of model: a frame at a time, or a loop over frames."""

SPLITS = (
    ("person_detect", (), None),
    ("person_detect", ("--plan",), None),
    ("front_whole_L49_pc", ("--fuse", "--reorder", "--plan"), None),
    ("front_whole_L49_pc", ("--fuse", "--stream", "variable", "--plan"), None),
    ("g_elu_resvar_int8", ("--fuse", "--reorder", "--plan"), None),
    ("s_elu_stream_int8", ("--fuse", "--reorder", "--plan"), None),
    ("u2_split_int8", (), None),
    ("u2_split_int8", ("--reorder",), None),
    ("u2_split_int8_reord", (), 60_000),
    ("u2_split_int8_reord", (), None),
    ("u2_split_int8", ("--one-scale", "--no-repeats"), 60_000),
    ("u2_split_int8", ("--one-scale",), 60_000),
    ("u3_elu_trained_int8", ("--fuse-scan", *WINDOW, "--plan"), None),
)
"""Model, flags besides `--split`, and the limit; None for the smallest that there is."""

HEAD = """# Transforms: what they make of the models

Written by `python benchmarks/transforms_table.py`. Every line is one run of `refmicro transform
MODEL -o OUT` with these flags, whose result was proven equal to its source byte for byte, in
refmicro and in TFLM, before it was written: 16 vectors from reset state, and two sequences of 16
steps where there is state. `used` is what `arena_used_bytes()` says, `required` the smallest
arena with which AllocateTensors and Invoke succeed; on lp64 TFLM was asked for both, ilp32 is
computed. `head` is the memory plan; `bound` says what no plan of that order, with operators in
place, goes below. Bytes throughout; ilp32 is a Cortex-M firmware with reference kernels, lp64 the
wheel's build without its recorder. Flags that change nothing further are left out.

Where `required` is well above `used`, TFLM's planner decides: while it plans it holds 24 (ilp32)
or 32 (lp64) bytes for every tensor and 40 for every planned buffer, at the place where the head
will be. No order and no plan changes that; fewer tensors do. A model that becomes a step model is
called once for each frame, and whole sequences were compared. A source that has a plan, such as
`m_elu_inplace2_off_int8`, is planned anew without being asked.

"""

COLUMNS = (
    "| model | flags | ilp32 used | required | lp64 used | required | head | bound | operators |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def transform(model: Path, flags: tuple[str, ...], out: Path, *more: str) -> dict | None:
    """The report of one run, None where the model has nothing for these flags."""
    command = [sys.executable, "-m", "refmicro", "transform", str(model), "-o", str(out)]
    done = subprocess.run(
        [*command, *flags, *more, "--json"], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "--fuse-scan" in flags and done.returncode == 3:
        return None  # no scan to fuse
    raise SystemExit(f"{model} {' '.join(flags)}: exit code {done.returncode}\n{done.stderr}")


def line(name: str, flags: str, size: dict, bound: int | None) -> str:
    """One row of the table."""
    cells = [
        f"{size[abi][key]:,}"
        for abi in ("ilp32", "lp64")
        for key in ("used_bytes", "required_bytes")
    ]
    head = f"{size['ilp32']['head_bytes']:,}"
    floor = "" if bound is None else f"{bound:,}"
    return f"| {name} | {flags} | {' | '.join(cells)} | {head} | {floor} | {size['operators']} |\n"


def rows(name: str, model: Path, folder: Path) -> str:
    """The source and every result that differs from the one before."""
    text, last = "", None
    for flags in (*STEPS, *STREAMS.get(name, ())):
        report = transform(model, flags, folder / f"{name}.tflite")
        if report is None:
            continue
        if not text:
            text = line(f"`{name}`", "source", report["source"], None)
        size = report["parts"][0]
        figures = [size[abi] for abi in ("ilp32", "lp64")]
        if figures in ([report["source"][abi] for abi in ("ilp32", "lp64")], last):
            continue
        last = figures
        bounds = [f["lower_bound_bytes"] for f in report["transforms"] if f["transform"] == "plan"]
        text += line("", f"`{' '.join(flags)}`", size, bounds[0] if bounds else None)
        print(f"{name} {' '.join(flags)}", file=sys.stderr)
    return text


def networks(folder: Path) -> str:
    """Convolution networks: TFLM's plan, the best plan, the best order and its best plan."""
    text = "\n## Convolution networks\n\n"
    text += (
        "Small networks with the branches of well-known ones and random weights\n"
        "(`tests/transform/convolutions.py`). Bytes of the memory plan, ilp32: TFLM's own, that\n"
        "of `--plan`, of `--reorder --plan`, and what none can go below, operators in place.\n\n"
    )
    text += "| network | operators | TFLM | `--plan` | `--reorder --plan` | bound |\n"
    text += "|---|---|---|---|---|---|\n"
    for name, make in sorted(NETWORKS.items()):
        model = folder / f"{name}.tflite"
        model.write_bytes(write_model(make()))
        out = folder / "out.tflite"
        planned = transform(model, ("--plan",), out, "--count", "4")
        both = transform(model, ("--reorder", "--plan"), out, "--count", "4")
        order = next(item for item in both["transforms"] if item["transform"] == "reorder")
        heads = [item["ilp32"]["head_bytes"] for item in (planned["source"], planned["parts"][0])]
        heads += [both["parts"][0]["ilp32"]["head_bytes"], order["lower_bound_bytes"]]
        cells = " | ".join(f"{head:,}" for head in heads)
        text += f"| {name} | {both['source']['operators']} | {cells} |\n"
        print(f"{name} --reorder --plan", file=sys.stderr)
    return text


def splits(folder: Path) -> str:
    """Models in parts."""
    text = "\n## Split\n\n"
    text += (
        "`--split LIMIT` with these flags; where no limit is given, the smallest that the command\n"
        "names. `whole` is the arena that the source requires, `buffer` what the parts take with\n"
        "all that is carried between them, state included; `models` are different ones, `flash`\n"
        "their files together. ilp32. `--one-scale` changes numbers.\n\n"
    )
    text += (
        "| model | flags | limit | whole | buffer | largest arena | carried | calls | models "
        "| flash |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for name, flags, limit in SPLITS:
        out = folder / f"{name}_parts"
        least = limit or smallest(ALL[name], flags, out)
        report = transform(ALL[name], flags, out, "--split", str(least), "--count", "4")
        facts = next(item for item in report["transforms"] if item["transform"] == "split")
        manifest = json.loads((out / "manifest.json").read_text())
        cells = [
            f"{least:,}" if limit else "",
            f"{report['source']['ilp32']['required_bytes']:,}",
            f"{manifest['buffer_bytes']:,}",
            f"{manifest['largest_arena_bytes']:,}",
            f"{manifest['most_carried_bytes']:,}",
            *(f"{facts[key]:,}" for key in ("calls", "models")),
            f"{sum(item['bytes'] for item in manifest['models']):,}",
        ]
        shown = f"`{' '.join(flags)}`" if flags else ""
        text += f"| `{name}` | {shown} | {' | '.join(cells)} |\n"
        print(f"{name} {' '.join(flags)} --split {least}", file=sys.stderr)
    return text


def smallest(model: Path, flags: tuple[str, ...], out: Path) -> int:
    """The smallest limit, as the refusal of an impossible one names it."""
    command = [sys.executable, "-m", "refmicro", "transform", str(model), "-o", str(out)]
    done = subprocess.run(
        [*command, *flags, "--split", "16"], capture_output=True, text=True, cwd=ROOT
    )
    return int(done.stderr.split("allow that with --split ")[1].split(",")[0])


def scale(folder: Path) -> str:
    """How long it takes with many operators."""
    text = "\n## Many operators\n\n"
    text += (
        "An unrolled recurrence, products first, as converters leave it: `--reorder --plan`, two\n"
    )
    text += f"vectors, {platform.machine()}, two cores.\n\n"
    text += "| operators | peak, source | peak | bound | reorder | plan | command with proof |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for steps in (12, 110, 1100):
        model = folder / f"unrolled_{steps}.tflite"
        model.write_bytes(write_model(unrolled(steps, depth=32, size=16)))
        start = time.monotonic()
        report = transform(model, ("--reorder", "--plan"), folder / "out.tflite", "--count", "2")
        seconds = time.monotonic() - start
        order, plan = report["transforms"]
        text += (
            f"| {report['source']['operators']:,} | {order['source_peak_bytes']:,} "
            f"| {order['peak_bytes']:,} | {order['lower_bound_bytes']:,} "
            f"| {order['seconds']:.1f} s | {plan['seconds']:.1f} s | {seconds:.0f} s |\n"
        )
    return text


def main() -> None:
    """Make the page, or the table of some models."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if len(sys.argv) > 1:
            print(COLUMNS, end="")
            for path in map(Path, sys.argv[1:]):
                print(rows(path.stem, path.resolve(), place), end="")
            return
        names = sorted(TFLM.keys() - REFUSED) + sorted(ALL.keys() - TFLM.keys() - REFUSED)
        table = "".join(rows(name, ALL[name], place) for name in names)
        more = networks(place) + splits(place) + scale(place)
        write_files({PAGE: (HEAD + COLUMNS + table + more).encode()})


if __name__ == "__main__":
    main()
