"""Throughput of `invoke_batch` of 256 vectors against 256 `invoke()` of the `tflite_micro` wheel.

Usage: python benchmarks/batch_against_wheel.py [MODEL ...] [--rows N] [--runs N]

Both sides run in turn in this process on one thread, on the same vectors, and the outputs are
compared byte for byte. The figure is the ratio of the medians, wheel time over refmicro time;
10 or more is the aim. Compilation happens before the clock starts.
"""

from __future__ import annotations

import os

# One thread on both sides; BLAS reads these when it is loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from refmicro import Interpreter
from refmicro.vectors import random_inputs

ROOT = Path(__file__).parent.parent
MODELS = [
    ROOT / "golden/models/u2_split_int8_reord/model.tflite",
    ROOT / "golden/tflm/person_detect.tflite",
]


def wheel_outputs(wheel, inputs: list[np.ndarray], outputs: int) -> list[np.ndarray]:
    """One `invoke()` a row."""
    rows = []
    for row in range(inputs[0].shape[0]):
        for index, array in enumerate(inputs):
            wheel.set_input(array[row], index)
        wheel.invoke()
        rows.append([wheel.get_output(index) for index in range(outputs)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def main() -> int:
    """Print one line a model; exit 4 where outputs differ, 5 without the wheel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=MODELS)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    try:
        from tflite_micro import runtime
    except ImportError:
        print(
            "error: tflite_micro is not installed\nhint: pip install 'refmicro[oracle]'",
            file=sys.stderr,
        )
        return 5
    print(f"model | rows | wheel time / refmicro time (medians, {args.runs} runs in turn)")
    for model in args.models:
        mine = Interpreter.from_file(model)
        graph = mine.program.model.subgraphs[0]
        inputs = random_inputs([graph.tensors[i] for i in graph.inputs], args.rows, 0)
        wheel = runtime.Interpreter.from_file(str(model))
        mine.invoke_batch(inputs)
        times: list[tuple[float, float]] = []
        for _ in range(args.runs):
            start = time.perf_counter()
            got = mine.invoke_batch(inputs)
            middle = time.perf_counter()
            want = wheel_outputs(wheel, inputs, mine.output_count)
            times.append((middle - start, time.perf_counter() - middle))
            if any(a.tobytes() != b.tobytes() for a, b in zip(got, want, strict=True)):
                print(f"error: outputs differ: {model}", file=sys.stderr)
                return 4
        ratio = statistics.median(b for _, b in times) / statistics.median(a for a, _ in times)
        name = model.parent.name if model.stem == "model" else model.stem
        print(f"{name} | {args.rows} | {ratio:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
