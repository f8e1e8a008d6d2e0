"""Speed against the `tflite_micro` wheel and LiteRT's interpreter, side by side in one run.

Usage: python benchmarks/speed.py [MODEL ...] [--rows N] [--runs N] [--threads N]

Without models it runs all of golden/ and a MobileNet v2 and writes docs/results/speed.md. Every
side works on the same vectors in one thread of this process, in turn, and is timed in processor
time of its thread, so that other programs on the machine disturb it little; the least of all runs
counts. Outputs of refmicro and the wheel are compared byte for byte. Compilation happens before.
"""

from __future__ import annotations

import os

# One thread on every side; BLAS reads these when it is loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.mobilenet import mobilenet_v2
from refmicro import Interpreter, estimate
from refmicro._files import write_files
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.vectors import random_inputs
from tests.models import ALL, REFUSED

PAGE = ROOT / "docs" / "results" / "speed.md"
Runner = Callable[[list[np.ndarray]], list[np.ndarray]]

HEAD = """# Speed

Written by `python benchmarks/speed.py` ({machine}; refmicro with NumPy {numpy} and numba {numba},
`tflite_micro` {wheel}, LiteRT {litert}). A figure is the time of the other side
over that of refmicro, above 1 where refmicro is faster: processor time of one thread on each side,
the same vectors, in turn, the least of {runs} runs. The outputs of refmicro and the wheel were
compared byte for byte. LiteRT runs its optimized kernels, which give other bytes; where its
column is empty it refuses the model, or its process dies.

- **one**: `set_input`, `invoke()`, `get_output` of one vector.
- **{rows}**: `invoke_batch` of {rows} vectors against {rows} times the above.
- **{threads} threads**: a batch of {many}, the time that passes with one thread over that with
  {threads}; and what {threads} need in processor time over all, relative to one: 1.0 means that
  each of {threads} cores does its full share. Batches too small for threads run in one.

| model | MACs | one: wheel | LiteRT | {rows}: wheel | LiteRT | {threads} threads: time | work |
|---|---|---|---|---|---|---|---|
"""


def wheel_runner(data: bytes, outputs: int, *, reset: bool) -> Runner:
    """The wheel's `invoke()`, a row at a time, from reset state where that is asked for."""
    from tflite_micro import runtime

    report = estimate(parse_model(data), abi="lp64", recording=True)
    arena_size = report.arena["required_bytes"] + 65_536
    wheel = runtime.Interpreter.from_bytes(data, arena_size=arena_size)

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        rows = []
        for row in range(inputs[0].shape[0]):
            if reset:
                wheel.reset()
            for index, array in enumerate(inputs):
                wheel.set_input(array[row], index)
            wheel.invoke()
            rows.append([wheel.get_output(index) for index in range(outputs)])
        return [np.stack(column) for column in zip(*rows, strict=True)]

    return run


MANY = 8
"""Batches that are joined to see what threads do."""

TAIL = """
Where the processor has AVX-512 for bytes (VNNI, VBMI), products, pairs and look-ups run in its
instructions (`docs/decisions/0010-int8-products-with-vnni.md`, `0009`); elsewhere through BLAS and
loops that numba compiles, which give the same bytes in more time. One vector of a small graph
takes Python's time for each operator, about a microsecond; operators that are not bound
(`docs/decisions/0011-bound-subgraphs.md`) take ten. Models that never reach a million
multiply-accumulates may therefore be slower here than in TFLM.
"""

TRY_LITERT = """
import sys
from ai_edge_litert.interpreter import Interpreter
other = Interpreter(model_content=sys.stdin.buffer.read(), num_threads=1)
other.allocate_tensors()
for _ in range(100):
    other.invoke()
del other
"""


def litert_runner(data: bytes) -> Runner | None:
    """LiteRT's `invoke()`, a row at a time; None where it is not installed, refuses the model or
    dies of it, which a process of its own finds out."""
    try:
        from ai_edge_litert.interpreter import Interpreter as LiteRt
    except ImportError:
        return None
    tried = subprocess.run(
        [sys.executable, "-c", TRY_LITERT], input=data, capture_output=True, check=False
    )
    if tried.returncode != 0:
        return None
    other = LiteRt(model_content=data, num_threads=1)
    other.allocate_tensors()
    places = [detail["index"] for detail in other.get_input_details()]
    results = [detail["index"] for detail in other.get_output_details()]

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        rows = []
        for row in range(inputs[0].shape[0]):
            for place, array in zip(places, inputs, strict=True):
                other.set_tensor(place, array[row])
            other.invoke()
            rows.append([other.get_tensor(place) for place in results])
        return [np.stack(column) for column in zip(*rows, strict=True)]

    return run


def single_runner(mine: Interpreter) -> Runner:
    """refmicro with the wheel's calls."""

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in enumerate(inputs):
            mine.set_input(array[0], index)
        mine.invoke()
        return [mine.get_output(index)[None] for index in range(mine.output_count)]

    return run


def least(runners: list[Runner | None], inputs: list[np.ndarray], runs: int) -> list[float]:
    """Processor seconds of each, taken in turn; infinite where there is none."""
    times = [float("inf")] * len(runners)
    for _ in range(runs):
        for index, run in enumerate(runners):
            if run is not None:
                start = time.thread_time()
                run(inputs)
                times[index] = min(times[index], time.thread_time() - start)
    return times


def gain_of_threads(
    mine: Interpreter, inputs: list[np.ndarray], threads: int, runs: int
) -> tuple[float, float]:
    """How many times less time passes with so many threads, and how many times the processor time
    they need."""
    clocks = time.perf_counter, time.process_time
    least_of = {1: [float("inf")] * 2, threads: [float("inf")] * 2}
    for _ in range(runs):
        for count, known in least_of.items():
            starts = [clock() for clock in clocks]
            mine.invoke_batch(inputs, threads=count)
            taken = [clock() - start for clock, start in zip(clocks, starts, strict=True)]
            least_of[count] = [min(pair) for pair in zip(known, taken, strict=True)]
    (wall, work), (threads_wall, threads_work) = least_of.values()
    return wall / threads_wall, threads_work / work


def measure(name: str, data: bytes, args: argparse.Namespace) -> str:
    """One row of the table."""
    mine = Interpreter.from_bytes(data)
    graph = mine.program.model.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], args.rows, 0)
    got = mine.invoke_batch(inputs)
    want = wheel_runner(data, mine.output_count, reset=True)(inputs)
    if any(a.tobytes() != b.tobytes() for a, b in zip(got, want, strict=True)):
        raise SystemExit(f"error: outputs differ: {name}")
    wheel = wheel_runner(data, mine.output_count, reset=False)
    one = [array[:1] for array in inputs]
    litert = litert_runner(data)
    batch = least([mine.invoke_batch, wheel, litert], inputs, args.runs)
    single = least([single_runner(mine), wheel, litert], one, 10 * args.runs)
    many = [np.concatenate([array] * MANY) for array in inputs]
    mine.invoke_batch(many, threads=args.threads)
    gain = gain_of_threads(mine, many, args.threads, args.runs)
    cells = [f"{estimate(mine.program.model).macs:,}"]
    for times in (single, batch):
        ratios = (other / times[0] for other in times[1:])
        cells += ["" if ratio == float("inf") else f"{ratio:.2f}" for ratio in ratios]
    line = f"| {name} | {' | '.join(cells)} | {gain[0]:.2f} | {gain[1]:.2f} |\n"
    print(line, end="", flush=True)
    return line


def page(lines: list[str], args: argparse.Namespace) -> str:
    """The document."""

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    head = HEAD.format(
        machine=platform.machine(),
        numpy=version("numpy"),
        numba=version("numba"),
        wheel=version("tflite_micro"),
        litert=version("ai-edge-litert"),
        runs=args.runs,
        rows=args.rows,
        many=f"{MANY * args.rows:,}",
        threads=args.threads,
    )
    return head + "".join(lines) + TAIL


def main() -> int:
    """Print one line a model; exit 5 without the wheel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if importlib.util.find_spec("tflite_micro") is None:
        print(
            "error: tflite_micro is not installed\nhint: pip install 'refmicro[oracle]'",
            file=sys.stderr,
        )
        return 5
    models = {path.stem: path.read_bytes() for path in args.models}
    if not models:
        models = {name: path.read_bytes() for name, path in ALL.items() if name not in REFUSED}
        models["MobileNet v2, 96 x 96, width 0.35"] = write_model(mobilenet_v2())
    lines = [measure(name, data, args) for name, data in models.items()]
    if not args.models:
        write_files({PAGE: page(lines, args).encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
