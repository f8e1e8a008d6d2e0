"""`refmicro check`: refmicro against the real TFLM, model by model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refmicro.compare import ModelCheck
    from refmicro.model.graph import Model


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help=".tflite files")
    parser.add_argument("--count", type=int, default=16, help="input vectors (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the vectors (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro import bridge
    from refmicro.cli._json import print_json
    from refmicro.cli._progress import progress_bar
    from refmicro.compare import check_model
    from refmicro.errors import UsageError
    from refmicro.model.reader import read_model

    if args.count < 1 or args.seed < 0:
        raise UsageError(
            f"--count must be at least 1 and --seed at least 0: {args.count} and {args.seed}"
        )
    bridge.require()
    models = [(path, _named(read_model, path)) for path in args.models]
    checks = []
    with progress_bar("check") as advance:
        for number, (path, model) in enumerate(models):

            def progress(what: str, done: int, total: int, number: int = number) -> None:
                text = f"{models[number][0]} ({number + 1}/{len(models)})"
                advance(text, number * total + done, len(models) * total)

            check = check_model(model, path, count=args.count, seed=args.seed, progress=progress)
            checks.append(check)
            if not args.json:
                print(_line(check), flush=True)
    if args.json:
        document = {"schema_version": 1, "models": [check.to_dict() for check in checks]}
        print_json(document)
    return _exit_code(checks)


def _named(read: Callable[[str], Model], path: str) -> Model:
    """The model; where it is damaged, the message says which of the files it is."""
    from refmicro.errors import InvalidModelError

    try:
        return read(path)
    except InvalidModelError as error:
        raise InvalidModelError(f"{path}: {error.message}", hint=error.hint) from error


def _exit_code(checks: list[ModelCheck]) -> int:
    if not all(check.equal for check in checks):
        return 4
    return 3 if any(check.refused for check in checks) else 0


def _line(check: ModelCheck) -> str:
    """One line of verdict, and where something differs a second one that says where."""
    from refmicro.report.units import counted

    if check.refused is not None:
        if check.equal:
            return f"refused  {check.path}: both refuse it: {check.refused.refmicro}"
        runs = "refmicro" if check.refused.refmicro is None else "TFLM"
        why = check.refused.refmicro or check.refused.tflm
        return f"DIFFERS  {check.path}: {runs} runs it, the other refuses: {why}"
    arena = check.arena
    values, tensors = counted(check.values, "value"), counted(check.tensors, "tensor")
    facts = f"{values} of {tensors}, {check.mismatches:,} differ"
    if check.undefined:
        facts += f", {check.undefined:,} left out that TFLM never writes"
    used, required = arena.predicted["used_bytes"], arena.predicted["required_bytes"]
    memory = f"arena {used:,} B when recorded, {required:,} B smallest"
    lines = [f"{'equal  ' if check.equal else 'DIFFERS'}  {check.path}: {facts}; {memory}"]
    first = check.first
    if first is not None:
        lines.append(
            f"         first at subgraph {first.subgraph}, operator {first.operator} "
            f"({first.name}), tensor {first.tensor}, element {first.index}: "
            f"TFLM {first.want}, refmicro {first.got}"
        )
    if not arena.equal:
        lines += [f"         arena: {text}" for text in _arena_differences(check)]
    return "\n".join(lines)


def _arena_differences(check: ModelCheck) -> list[str]:
    predicted, measured = check.arena.predicted, check.arena.measured
    lines = []
    for name, want in measured.items():
        got = predicted[name]
        if isinstance(want, dict):
            for key in sorted(want.keys() | got.keys()):
                if want.get(key) != got.get(key):
                    lines.append(f"{name} {key}: TFLM {want.get(key)}, refmicro {got.get(key)}")
        elif want != got:
            lines.append(f"{name}: TFLM {want}, refmicro {got}")
    return lines[:8]
