"""How `refmicro estimate` grows with the graph, beside TFLM's own allocation of the same model.

Usage: python benchmarks/estimate_scaling.py [OPERATORS ...]

Unrolled recurrences of 10 to 10,000 operators, as converters leave them. One side reads the file
and estimates its arena (`refmicro.estimate`, 64-bit), the other makes the wheel's interpreter,
which plans and allocates. Both are timed in processor time in this process, in turn, the least of
all runs counts; required bytes of one and arena of the other are the same model's. Writes
docs/results/estimate-scaling.md unless sizes are given.
"""

from __future__ import annotations

import math
import platform
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from refmicro import estimate
from refmicro._files import write_files
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from tests.transform.unrolled import unrolled

PAGE = ROOT / "docs" / "results" / "estimate-scaling.md"
SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
PER_STEP = 9
"""Operators of one step of `unrolled`."""

HEAD = """# How the estimate grows

Written by `python benchmarks/estimate_scaling.py` ({machine}). Unrolled recurrences: `estimate`
is reading the file and estimating its arena, `TFLM` is making the wheel's interpreter, which plans
and allocates; processor time of one thread, in turn, the least of {runs} runs. The exponent is
that of a power law between a row and the one before: 1 is linear, 2 quadratic. Memory is the
process's peak so far, which holds the reports of all models.

| operators | estimate / TFLM | exponent: estimate | exponent: TFLM | peak memory, MiB |
|---|---|---|---|---|
"""
RUNS = 3


def seconds(data: bytes) -> tuple[float, float]:
    """The least processor time of both sides."""
    from tflite_micro import runtime

    mine = theirs = math.inf
    arena = estimate(parse_model(data), abi="lp64", recording=True).arena["required_bytes"]
    for _ in range(RUNS):
        start = time.process_time()
        estimate(parse_model(data), abi="lp64", recording=True)
        middle = time.process_time()
        runtime.Interpreter.from_bytes(data, arena_size=arena + 65_536)
        mine, theirs = min(mine, middle - start), min(theirs, time.process_time() - middle)
    return mine, theirs


def main() -> int:
    """Print the table, and write the page where no sizes were asked for."""
    sizes = [int(text) for text in sys.argv[1:]] or list(SIZES)
    lines, before = [], None
    for size in sizes:
        model = unrolled(max(2, size // PER_STEP), depth=4, size=4)
        count = len(model.subgraphs[0].operators)
        mine, theirs = seconds(write_model(model))
        cells = ["", ""]
        if before is not None:
            ratio = math.log(count / before[0])
            cells = [
                f"{math.log(now / then) / ratio:.2f}"
                for now, then in zip((mine, theirs), before[1:], strict=True)
            ]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        lines.append(f"| {count:,} | {mine / theirs:.2f} | {' | '.join(cells)} | {peak} |\n")
        print(lines[-1], end="", flush=True)
        before = count, mine, theirs
    if len(sys.argv) == 1:
        head = HEAD.format(machine=platform.machine(), runs=RUNS)
        write_files({PAGE: (head + "".join(lines)).encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
