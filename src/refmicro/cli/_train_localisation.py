"""`refmicro train localisation`: signal strengths to integer models of rooms, with the table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refmicro.zoo.localisation import RunConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the recipe."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the residential wearable RSSI set, unpacked: holds house_A to house_D (default: "
        "simulated homes)",
    )
    data.add_argument(
        "--uji", type=Path, metavar="DIR", help="UJIIndoorLoc (default: a simulated building)"
    )
    data.add_argument("--uji-label", choices=("building", "floor", "space"), default="floor")
    data.add_argument(
        "--homes", metavar="LIST", help="of A,B,C,D,UJI (default: A; all with --report)"
    )
    data.add_argument("--simulation-seed", type=int, default=0, help="of simulated data")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--models",
        metavar="LIST",
        help="FAMILY-HIDDEN-LAYERS of mdcsa and mamba (default: mdcsa-16-1,mamba-8-1)",
    )
    model.add_argument("--teacher", default="mdcsa-64-1", metavar="MODEL", help="for distillation")
    model.add_argument("--no-crf", action="store_true", help="cross entropy, largest score")
    train = parser.add_argument_group("training")
    train.add_argument("--seeds", type=int, default=None, help="trainings (default: 1; report 3)")
    train.add_argument("--epochs", type=int, default=80)
    train.add_argument("--teacher-epochs", type=int, default=40)
    train.add_argument("--mixed-epochs", type=int, default=40, help="distillation, mixed windows")
    train.add_argument("--qat-epochs", type=int, default=20)
    result = parser.add_argument_group("result")
    result.add_argument("--output", type=Path, metavar="DIR", help="trained stages and models")
    result.add_argument("--report", action="store_true", help="measure every stage and model")
    result.add_argument(
        "--report-folder",
        type=Path,
        default=Path("docs/results"),
        metavar="DIR",
        help="where localisation.md, .json and pictures go (default: docs/results)",
    )
    result.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the recipe; returns the exit code."""
    from refmicro.cli._progress import progress_bar
    from refmicro.zoo import localisation

    config = _config(args)
    with progress_bar("training") as progress:
        told = {"say": lambda text: print(text, file=sys.stderr), "progress": progress}
        if args.report:
            from refmicro import bridge

            bridge.require()
        result = localisation.build(config, folder=args.output, **told)
        if args.report:
            from refmicro.zoo import localisation_report

            document = localisation_report.write_report(result, args.report_folder, **told)
        else:
            document = localisation.summary(result)
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    elif args.report:
        print(args.report_folder / "localisation.md")
    else:
        _print(document)
    return 0


def _config(args: argparse.Namespace) -> RunConfig:
    from refmicro.errors import UsageError
    from refmicro.zoo.localisation import BUILDING, DEFAULT_MODELS, HOMES, RunConfig
    from refmicro.zoo.localisation_training import Schedule
    from refmicro.zoo.rssi_simulator import Settings

    for name in ("epochs", "teacher_epochs", "mixed_epochs", "qat_epochs"):
        if getattr(args, name) < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 1: {getattr(args, name)}"
            )
    seeds = args.seeds if args.seeds is not None else (3 if args.report else 1)
    if not 1 <= seeds <= 10:
        raise UsageError(f"--seeds must be between 1 and 10: {seeds}")
    if args.simulation_seed < 0:
        raise UsageError(f"--simulation-seed must be at least 0: {args.simulation_seed}")
    known = (*HOMES, BUILDING)
    homes = tuple(args.homes.split(",")) if args.homes else (known if args.report else ("A",))
    for home in homes:
        if home not in known:
            raise UsageError(f"no such home: {home}", hint=f"homes are {', '.join(known)}")
    base = RunConfig()
    return RunConfig(
        homes=homes,
        models=tuple(args.models.split(",")) if args.models else DEFAULT_MODELS,
        data=args.data,
        uji=args.uji,
        uji_label=args.uji_label,
        seeds=seeds,
        with_crf=not args.no_crf,
        teacher=args.teacher,
        float_schedule=Schedule(epochs=args.epochs),
        teacher_schedule=dataclasses.replace(base.teacher_schedule, epochs=args.teacher_epochs),
        mixed_schedule=dataclasses.replace(base.mixed_schedule, epochs=args.mixed_epochs),
        qat_schedule=dataclasses.replace(base.qat_schedule, epochs=args.qat_epochs),
        simulation=Settings(seed=args.simulation_seed),
    )


def _print(document: dict[str, Any]) -> None:
    for row in document["rows"]:
        for stage, found in row["test"].items():
            print(
                f"{row['home']}\t{row['model']}\t{stage}\tF1 {100 * found['f1']:.2f} %\t"
                f"accuracy {100 * found['accuracy']:.2f} %"
            )
        for stage, path in row["files"].items():
            print(f"{row['home']}\t{row['model']}\t{stage}\t{path}")
