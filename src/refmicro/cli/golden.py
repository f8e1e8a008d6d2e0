"""`refmicro golden`: vectors written by the real TFLM."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument(
        "-o",
        "--output-dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the vectors and their manifest",
    )
    parser.add_argument("--count", type=int, default=16, help="vectors or streams (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs (default: 0)")
    parser.add_argument(
        "--steps", type=int, metavar="T", help="steps of a stream (default: 8 with state, else 1)"
    )
    parser.add_argument("--format", default="npz,c", help="npz, c or both (default: npz,c)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro._files import require_folder
    from refmicro.cli._progress import progress_bar
    from refmicro.errors import UsageError
    from refmicro.golden import write_golden
    from refmicro.model.reader import read_model

    if args.seed < 0:
        raise UsageError(f"--seed must be at least 0: {args.seed}")
    path = Path(args.model)
    model = read_model(path)
    require_folder(args.output_dir)
    name = path.parent.name if path.stem == "model" else path.stem
    with progress_bar("golden") as advance:
        manifest = write_golden(
            model,
            name,
            args.output_dir,
            count=args.count,
            seed=args.seed,
            steps=args.steps,
            formats=tuple(args.format.split(",")),
            progress=lambda done, total: advance(name, done, total),
        )
    for file in [*manifest["files"], "manifest.json"]:
        print(args.output_dir / file)
    return 0
