"""`refmicro transform`: a model made smaller in RAM, proven equal before it is written."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refmicro.cli._transform_steps import OPTIONS, STEPS, is_given

if TYPE_CHECKING:
    from collections.abc import Callable

    from refmicro.model.graph import Model
    from refmicro.transform.proof import Proof
    from refmicro.transform.stage import Stage


TEXTS_SHOWN = 12
"""Of each step; `--json` has them all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="the .tflite file to write; a folder where the result has several parts",
    )
    for step in STEPS:
        step.configure(parser)
    parser.add_argument(
        "--abi",
        choices=("ilp32", "lp64"),
        default="ilp32",
        help="whose arena is made small: a Cortex-M firmware's (default) or the wheel's",
    )
    parser.add_argument(
        "--kernels",
        choices=("reference", "cmsis-nn"),
        default="reference",
        help="which kernels the firmware is built with (default: reference)",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="for each search; what is best by then is taken (default: 10)",
    )
    parser.add_argument("--count", type=int, default=16, help="input vectors (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the vectors (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro import bridge
    from refmicro._files import require_folder
    from refmicro.cli._progress import progress_bar
    from refmicro.errors import UsageError
    from refmicro.memory.offline_plan import offline_plan
    from refmicro.model.reader import read_model
    from refmicro.transform.selective_scan_cc import custom_ops_of
    from refmicro.transform.stage import Stage

    _check(args)
    source = read_model(args.model)
    require_folder(args.output.parent)
    bridge.require()
    args.plan_asked_for = bool(args.plan)
    if args.plan is None:
        args.plan = offline_plan(source) is not None
    stage = Stage.of(source, args.output.stem, custom_ops_of(source))
    with progress_bar("transform") as advance:
        for step in STEPS:
            if step.wanted(args):
                start = time.monotonic()
                stage = _timed(step.apply(stage, args, advance), len(stage.facts), start)
        stage = _as_written(stage)
        proof = _prove(stage, args, advance)
    files = _files(stage, args.output)
    taken = Path(args.model).resolve()
    if any(path.resolve() == taken for path in files):
        raise UsageError(f"the output must not be the source itself: {args.output}")
    _write(stage, proof, files)
    document = _document(args, stage, proof, files)
    if args.json:
        json.dump(document, sys.stdout, indent=1)
        print()
    else:
        _print(document)
    return 0


def _check(args: argparse.Namespace) -> None:
    from refmicro.errors import UsageError

    if not any(step.wanted(args) for step in STEPS):
        flags = ", ".join(step.flag for step in STEPS)
        raise UsageError("transform needs at least one thing to do", hint=f"one of {flags}")
    for option, owners in OPTIONS.items():
        if is_given(args, option) and not any(is_given(args, owner) for owner in owners):
            raise UsageError(f"{option} says how, and needs {' or '.join(owners)} with it")
    if args.count < 1 or args.seed < 0 or not args.time_limit > 0:
        raise UsageError(
            "--count must be at least 1, --seed at least 0 and --time-limit above 0: "
            f"{args.count}, {args.seed} and {args.time_limit:g}"
        )


def _timed(stage: Stage, known: int, start: float) -> Stage:
    """The stage with the time of its last step in the facts of that step."""
    import dataclasses

    seconds = round(time.monotonic() - start, 3)
    new = tuple({**facts, "seconds": seconds} for facts in stage.facts[known:])
    return dataclasses.replace(stage, facts=stage.facts[:known] + new)


def _as_written(stage: Stage) -> Stage:
    """The stage with the models that a reader of the files gets."""
    import dataclasses

    from refmicro.transform.proof import written

    parts = tuple(dataclasses.replace(part, model=written(part.model)) for part in stage.parts)
    stage = dataclasses.replace(stage, parts=parts)
    if stage.finish is None:
        return stage
    return dataclasses.replace(stage, files={**stage.files, **stage.finish(stage.models)})


def _prove(
    stage: Stage, args: argparse.Namespace, progress: Callable[[str, int, int], None]
) -> Proof:
    from refmicro.transform.proof import prove

    return prove(
        stage.source,
        stage.models,
        lambda open_model: stage.arrange(stage.models, open_model),
        count=args.count,
        seed=args.seed,
        custom_ops=stage.custom_ops,
        seen=stage.seen,
        progress=progress,
    )


def _files(stage: Stage, output: Path) -> dict[Path, bytes]:
    """All files by path: one part takes the path itself, a cut model lies in a folder."""
    if len(stage.parts) == 1 and stage.finish is None:
        models = {output: stage.parts[0].model.source}
        folder = output.parent
    else:
        models = {output / f"{part.name}.tflite": part.model.source for part in stage.parts}
        folder = output
    return models | {folder / name: data for name, data in stage.files.items()}


def _write(stage: Stage, proof: Proof, files: dict[Path, bytes]) -> None:
    """Write all files, or none where the proof fails."""
    from refmicro._files import write_files
    from refmicro.errors import DifferenceError

    proven = proof.sound if stage.changes_numbers else proof.equal
    if not proven:
        raise DifferenceError(
            f"the result must be proven before it is written: {_reason(proof)}",
            hint="nothing was written; report the model, this is a fault of a transform",
        )
    write_files(files)


def _reason(proof: Proof) -> str:
    if proof.first is not None:
        first = proof.first
        return (
            f"{first.between}, vector {first.row}, output {first.output}, element {first.index}: "
            f"{first.want} is {first.got}"
        )
    return proof.faults[0] if proof.faults else "the plan is not obeyed"


# The report


def _document(
    args: argparse.Namespace, stage: Stage, proof: Proof, files: dict[Path, bytes]
) -> dict[str, Any]:
    import dataclasses

    return {
        "schema_version": 1,
        "source": {
            "path": args.model,
            "sha256": stage.source.sha256,
            **_size(stage.source, args.kernels),
        },
        "parts": [
            {"name": part.name, "sha256": part.model.sha256, **_size(part.model, args.kernels)}
            for part in stage.parts
        ],
        "transforms": list(stage.facts),
        "changes_numbers": list(stage.changes_numbers),
        "proof": {
            **dataclasses.asdict(proof),
            "sound": proof.sound,
            "equal": proof.equal,
        },
        "files": [str(path) for path in files],
    }


def _size(model: Model, kernels: str) -> dict[str, Any]:
    """What a model needs, in bytes; `kernels` are the firmware's."""
    from refmicro.memory.arena import model_arena
    from refmicro.program import prepare_model
    from refmicro.types import TflmBuild

    arenas = {}
    for build in (TflmBuild.firmware(kernels=kernels), TflmBuild.wheel()):
        arena = model_arena(prepare_model(model, build))
        arenas[build.abi.value] = {
            "used_bytes": arena.used_bytes,
            "required_bytes": arena.required_bytes,
            "head_bytes": arena.head_bytes,
            "tail_bytes": arena.tail_bytes,
        }
    return {
        "bytes": len(model.source or b""),
        "operators": model.operator_count,
        "tensors": sum(len(graph.tensors) for graph in model.subgraphs),
        **arenas,
    }


def _print(document: dict[str, Any]) -> None:
    """The report for people."""
    for facts in document["transforms"]:
        for text in _fact_lines(facts):
            print(text)
    rows = [("source", document["source"])]
    rows += [(part["name"], part) for part in document["parts"]]
    width = max(len(name) for name, _ in rows)
    print(f"\n{'arena, bytes':{width}}  {'ilp32 used':>12}{'required':>10}{'head':>10}", end="")
    print(f"{'lp64 used':>12}{'required':>10}{'head':>10}{'operators':>11}{'file':>10}")
    for name, size in rows:
        cells = "".join(
            f"{size[abi]['used_bytes']:>12,}{size[abi]['required_bytes']:>10,}"
            f"{size[abi]['head_bytes']:>10,}"
            for abi in ("ilp32", "lp64")
        )
        print(f"{name:{width}}  {cells}{size['operators']:>11,}{size['bytes']:>10,}")
    print(f"\n{_proof_line(document)}")
    for path in document["files"]:
        print(f"written: {path}")


def _fact_lines(facts: dict[str, Any]) -> list[str]:
    """What one step says: its figures, then its texts."""
    name = f"{facts['transform']}{' of ' + facts['part'] if 'part' in facts else ''}"
    figures = [
        f"{key.replace('_', ' ')} {_shown(value)}"
        for key, value in facts.items()
        if key not in ("transform", "part") and not isinstance(value, list | dict)
    ]
    texts = [
        f"  {key.replace('_', ' ')}: {_words(item)}"
        for key, value in facts.items()
        if isinstance(value, list)
        for item in value
    ]
    more = [f"  and {len(texts) - TEXTS_SHOWN} more"] if len(texts) > TEXTS_SHOWN else []
    return [f"{name}: {', '.join(figures)}", *texts[:TEXTS_SHOWN], *more]


def _shown(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:,}"


def _words(item: str | dict[str, Any]) -> str:
    """One entry of a list of facts."""
    if isinstance(item, str):
        return item
    return ", ".join(
        f"{key} {'x'.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in item.items()
    )


def _proof_line(document: dict[str, Any]) -> str:
    proof = document["proof"]
    where = f"{proof['vectors']:,} vectors, {proof['values']:,} values, in refmicro and in TFLM"
    if proof["equal"]:
        return f"proven: every output byte equal to the source's, {where}; the plan is obeyed"
    changes = "; ".join(document["changes_numbers"])
    return (
        f"numbers changed, as asked ({changes}): {proof['mismatches']:,} of {proof['values']:,} "
        f"values differ, by {proof['largest_difference']:g} at most; refmicro and TFLM agree on "
        f"the result, {where}"
    )
