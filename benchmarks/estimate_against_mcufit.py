"""Wall time of `refmicro estimate MODEL --json` as a whole process, against `mcufit check`.

Usage: python benchmarks/estimate_against_mcufit.py [MODEL ...] [--runs N]

Both commands run in turn on the same machine and file, so that noise meets both. The figure is the
ratio of the medians, refmicro over mcufit; below 0.5 is the aim. Needs `pip install mcufit`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODELS = [
    ROOT / "golden/models/u2_split_int8_reord/model.tflite",
    ROOT / "golden/models/s_elu_stream_int8/model.tflite",
    ROOT / "golden/tflm/person_detect.tflite",
]


def seconds(command: list[str]) -> float:
    """Wall time of one run; the output is thrown away, the exit code is not judged (mcufit
    reports a model that does not fit with 1)."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def main() -> int:
    """Print one line a model; exit 5 where mcufit is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=MODELS)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    folder = Path(sys.executable).parent
    ours, theirs = folder / "refmicro", folder / "mcufit"
    if not theirs.exists() and shutil.which("mcufit") is None:
        print("error: mcufit is not installed\nhint: pip install mcufit", file=sys.stderr)
        return 5
    print(f"model | refmicro / mcufit (medians, {args.runs} runs in turn)")
    for model in args.models:
        mine = [str(ours), "estimate", str(model), "--json"]
        other = [str(theirs), "check", str(model), "-b", "esp32", "--json"]
        subprocess.run(mine, stdout=subprocess.DEVNULL, check=True)
        pairs = [(seconds(mine), seconds(other)) for _ in range(args.runs)]
        ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
        name = model.parent.name if model.stem == "model" else model.stem
        print(f"{name} | {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
