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
from tests.transform.unrolled import unrolled

PAGE = ROOT / "docs" / "results" / "transforms.md"

STEPS = (
    ("--reorder",),
    ("--plan",),
    ("--reorder", "--plan"),
    ("--fuse", "--reorder", "--plan"),
    ("--fuse", "--fuse-scan", "--reorder", "--plan"),
)

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
will be. No order and no plan changes that; fewer tensors do.

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
        return None
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
    for flags in STEPS:
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
        write_files({PAGE: (HEAD + COLUMNS + table + scale(place)).encode()})


if __name__ == "__main__":
    main()
