"""`refmicro emit --registrations`: kernels for a model that stays with TFLM."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refmicro.model.graph import Model


def write_registrations(args: argparse.Namespace, source: Model, name: str) -> int:
    """Write `NAME_tflm_kernels.cc`, proven in TFLM first; returns the exit code."""
    from refmicro._files import write_files
    from refmicro.cli._json import print_json
    from refmicro.cli._progress import progress_bar
    from refmicro.emit.registration import prove_registrations, registrations
    from refmicro.errors import EnvironmentMissingError
    from refmicro.report.units import counted

    made = registrations(source, args.target)
    path = args.output / f"{name}_tflm_kernels.cc"
    how = "--no-proof was given"
    proven = False
    if not args.no_proof:
        with progress_bar("registrations") as advance:
            advance("running TFLM with and without the kernels", 0, 1)
            try:
                prove_registrations(source, count=args.count, seed=args.seed)
                proven, how = (
                    True,
                    "run by TFLM on this machine, with plain C for the target's code",
                )
            except EnvironmentMissingError as error:
                how = str(error)
    write_files({path: made.text.encode()})
    if args.json:
        print_json(
            {
                "schema_version": 1,
                "model": {"path": args.model, "sha256": source.sha256},
                "target": args.target,
                "file": str(path),
                "replaced": [list(place) for place in made.replaced],
                "left": [list(place) for place in made.left],
                "proof": {"proven": proven, "how": how},
            }
        )
    else:
        print(
            f"wrote {path}: {counted(len(made.replaced), 'operator')} replaced, "
            f"{len(made.left)} stay with TFLM's kernels"
        )
    if not proven:
        print(f"warning: the kernels were not proven: {how}", file=sys.stderr)
    return 0
