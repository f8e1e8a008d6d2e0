"""Writes `docs/results/emitted-against-tflm.md`: emitted C against TFLM on an emulated Cortex-M4.

Usage: python benchmarks/emitted_against_tflm.py [NAME ...]

Each model is emitted, built, run on QEMU's mps2-an386 and compared with TFLM's golden vectors, as
`refmicro validate` does; instructions, loads and stores are counted, not timed, and repeat exactly.
TFLM's own figures are in `benchmarks/tflm_m4.json`: they were counted on the same emulated board by
the same plugin, and are not measured again here, because a Cortex-M build of TFLM is no part of
this repository. With names given, only those models are run and the table goes to stdout.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from refmicro._files import write_files
from refmicro.board.emulated import find_emulated
from refmicro.errors import RefmicroError
from refmicro.model.reader import read_model
from refmicro.validation import recorded_vectors, validate_emulated
from tests.models import ALL

BOARD = "mps2-an386"
FIGURES = ROOT / "benchmarks" / "tflm_m4.json"
PAGE = ROOT / "docs" / "results" / "emitted-against-tflm.md"

HEAD = """# Emitted C against TFLM on the Cortex-M4

Written by `python benchmarks/emitted_against_tflm.py`. Every emitted model ran on QEMU's
`mps2-an386` (Cortex-M4F, arm gcc 12.2, -O2) and gave the bytes of TFLM's golden vectors. Figures
are of one invocation, the mean over the vectors; a streaming model's is one step. Instructions and
accesses are counted, interpreter included.

TFLM is its source of August 2026 with NDEBUG, reference kernels (`reference`) or CMSIS-NN of July
2026 with its speed option (`CMSIS-NN`), only the operators that the model needs; counted once on
the same emulated board by the same plugin (`benchmarks/tflm_m4.json`). Accesses are loads and
stores of any width, each word of LDM counted.

- *RAM*: TFLM: `arena_used_bytes()` and the stack; the interpreter object, some 200 bytes, is not
  counted. Emitted: all static memory of the model and the stack of an invocation.
- *flash*: TFLM: program, newlib and model file. Emitted: code and constants of the model; the
  program around it, startup, serial line and runner, is in neither. TFLM's program has the startup.
- `refused`: TFLM's build refuses the model, or refmicro cannot emit it; the reason stands below.

"""


def emitted(name: str, path: Path) -> dict:
    """Counts and sizes of one model, or why there are none."""
    try:
        model = read_model(path)
        vectors = recorded_vectors(model, name, count=2, seed=0, steps=None)
        found = validate_emulated(model, path, find_emulated(BOARD), vectors).document
    except RefmicroError as error:
        return {"refused": str(error)}
    assert found["equal"], f"{name}: the board's bytes differ"
    counts, runs = found["counts"], found["counts"]["invocations"]
    return {
        "instructions": round(counts["instructions"] / runs),
        "accesses": round((sum(counts["loads"].values()) + sum(counts["stores"].values())) / runs),
        "static_bytes": found["ram"]["model_static_bytes"],
        "stack_bytes": found["ram"]["invoke_stack_bytes"],
        "flash_bytes": sum(
            size for section, size in found["flash"]["model"].items() if section != ".bss"
        ),
    }


def row(name: str, ours: dict, theirs: dict) -> str:
    """One line of the table."""
    cells = [name]
    for kernels in ("reference", "cmsis_nn"):
        cells.append(f"{theirs[kernels]['instructions']:,}" if measured(theirs, kernels) else "–")
    best = min(
        (theirs[k]["instructions"] for k in ("reference", "cmsis_nn") if measured(theirs, k)),
        default=None,
    )
    if "refused" in ours:
        return "| " + " | ".join([*cells, "refused", *["–"] * 5]) + " |"
    cells.append(f"{ours['instructions']:,}")
    cells.append(f"{best / ours['instructions']:.1f}" if best else "–")
    kernels = "cmsis_nn" if measured(theirs, "cmsis_nn") else "reference"
    if measured(theirs, kernels):
        there = theirs[kernels]
        cells += [
            f"{there['loads'] + there['stores']:,} / {ours['accesses']:,}",
            f"{there['arena_used_bytes'] + there['stack_bytes']:,}",
            f"{ours['static_bytes'] + ours['stack_bytes']:,}",
            f"{there['program_bytes'] + theirs['model_bytes']:,} / {ours['flash_bytes']:,}",
        ]
    else:
        cells += ["–", "–", f"{ours['static_bytes'] + ours['stack_bytes']:,}"]
        cells.append(f"– / {ours['flash_bytes']:,}")
    return "| " + " | ".join(cells) + " |"


def measured(theirs: dict, kernels: str) -> bool:
    """Whether TFLM ran the model."""
    return "instructions" in theirs.get(kernels, {})


def page(results: dict[str, dict], figures: dict[str, dict]) -> str:
    """The Markdown text."""
    lines = [
        HEAD,
        "| model | instructions: reference | CMSIS-NN | emitted | fewer by | "
        "accesses: TFLM / emitted | RAM: TFLM | emitted | flash: TFLM / emitted |\n",
        "|---|---|---|---|---|---|---|---|---|\n",
    ]
    lines += [f"{row(name, ours, figures.get(name, {}))}\n" for name, ours in results.items()]
    ratios = [
        min(
            figures[name][k]["instructions"]
            for k in ("reference", "cmsis_nn")
            if measured(figures[name], k)
        )
        / ours["instructions"]
        for name, ours in results.items()
        if "instructions" in ours
        and any(measured(figures.get(name, {}), k) for k in ("reference", "cmsis_nn"))
    ]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(
            f"\nInstructions: emitted C needs {mean:.1f} times fewer than the better of TFLM's two"
            f" builds in the geometric mean over {len(ratios)} models, {min(ratios):.1f} at least"
            f" and {max(ratios):.1f} at most.\n"
        )
    refusals = [
        f"- {name}: emitted: {r['refused']}\n" for name, r in results.items() if "refused" in r
    ]
    for name in results:
        for kernels in ("reference", "cmsis_nn"):
            why = figures.get(name, {}).get(kernels, {}).get("refused")
            if why:
                refusals.append(f"- {name}: TFLM, {kernels}: {why}\n")
    if refusals:
        lines += ["\n", *refusals]
    return "".join(lines)


def main(names: list[str]) -> None:
    """Run all models, or those named."""
    figures = json.loads(FIGURES.read_text())["models"]
    results = {}
    for name, path in ALL.items():
        if names and name not in names:
            continue
        known = figures.get(name, {}).get("sha256")
        if known and known != hashlib.sha256(path.read_bytes()).hexdigest():
            raise SystemExit(f"{name} is not the model that was counted: benchmarks/tflm_m4.json")
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = emitted(name, path)
    text = page(results, figures)
    if names:
        print(text)
        return
    data = json.dumps({"board": BOARD, "models": results}, indent=1) + "\n"
    write_files({PAGE: text.encode(), PAGE.with_suffix(".json"): data.encode()})
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
