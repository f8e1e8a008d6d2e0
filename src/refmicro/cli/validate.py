"""`refmicro validate`: a model on an emulated or real board, its bytes compared here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refmicro.model.graph import Model
    from refmicro.validation import Validation, Vectors

BAUD = 115200
STACK_BYTES = 16384
TIMEOUT_S = 60.0
COUNT = 16


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument("--board", metavar="BOARD", help="qemu:NAME or serial:PORT")
    parser.add_argument(
        "--golden", type=Path, metavar="DIR", help="vectors that `refmicro golden` wrote"
    )
    parser.add_argument(
        "--count", type=int, default=COUNT, help=f"vectors or streams (default: {COUNT})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs (default: 0)")
    parser.add_argument(
        "--steps", type=int, metavar="T", help="steps of a stream (default: 8 with state, else 1)"
    )
    parser.add_argument(
        "--stack", type=int, default=STACK_BYTES, metavar="BYTES", help="size of the stack (qemu)"
    )
    parser.add_argument("--baud", type=int, default=BAUD, help=f"speed (serial, default: {BAUD})")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="S",
        help=f"seconds for one invocation (default: {TIMEOUT_S:g})",
    )
    parser.add_argument(
        "--program", type=Path, metavar="ELF", help="run this program of yours instead (qemu)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep sources and program (qemu)")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write the sources for a real board, run nothing"
    )
    parser.add_argument(
        "--target", default="cortex-m4", help="processor for --export (default: cortex-m4)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro.cli._json import print_json
    from refmicro.errors import UsageError
    from refmicro.model.reader import read_model
    from refmicro.report.validation_text import print_validation
    from refmicro.validation import export_sources, find_board

    if (args.board is None) == (args.export is None):
        raise UsageError("give either --board or --export", hint="for example qemu:mps2-an386")
    _check(args)
    if args.export is not None:
        model = read_model(Path(args.model))
        for path in export_sources(model, Path(args.model), args.target, args.export):
            print(path)
        return 0
    kind, board = find_board(args.board)
    validation = _validated(read_model(Path(args.model)), kind, board, args)
    if args.json:
        print_json(validation.document)
    else:
        print_validation(validation.document)
    return 0 if validation.equal else 4


def _check(args: argparse.Namespace) -> None:
    from refmicro.errors import UsageError

    if args.seed < 0:
        raise UsageError(f"--seed must be at least 0: {args.seed}")
    if not 0 < args.timeout < 1e6:
        raise UsageError(f"--timeout must be more than 0 seconds: {args.timeout:g}")
    if not 256 <= args.stack <= 1 << 20:
        raise UsageError(f"--stack must be between 256 and 1048576 bytes: {args.stack}")
    if args.golden is not None and (args.count, args.seed, args.steps) != (COUNT, 0, None):
        raise UsageError(
            "--golden has vectors of its own: found --count, --seed or --steps with it",
            hint="leave these out, or --golden",
        )
    emulated = (args.program, args.keep, args.stack) != (None, None, STACK_BYTES)
    if emulated and (args.board or "").startswith("serial:"):
        raise UsageError(
            "--program, --keep and --stack are for emulated boards: found one with a serial port",
            hint="--export writes the sources for a real board",
        )


def _validated(model: Model, kind: str, board: object, args: argparse.Namespace) -> Validation:
    """What may be missing or not supported is found before the long work begins."""
    from refmicro.board import build, emulator
    from refmicro.cli._progress import progress_bar
    from refmicro.errors import UsageError
    from refmicro.validation import (
        emitted_for,
        validate_emulated,
        validate_program,
        validate_serial,
    )

    path = Path(args.model)
    emitted = None
    if kind == "qemu" and args.program is None:
        build.compiler(board)
    if kind == "qemu":
        emulator.emulator_program(board)
    with progress_bar("validate") as advance:
        if kind == "qemu" and args.program is None:
            emitted = emitted_for(model, path, board)
        vectors = _vectors(model, path, args, advance)
        common = {"timeout_s": args.timeout, "progress": advance}
        if kind == "serial":
            return validate_serial(model, path, board, vectors, baud=args.baud, **common)
        if args.program is not None:
            return validate_program(model, path, args.program, board, vectors, **common)
        if args.keep is not None:
            try:
                args.keep.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"cannot write: {args.keep}: {error.strerror}") from error
        return validate_emulated(
            model,
            path,
            board,
            vectors,
            emitted=emitted,
            stack_bytes=args.stack // 8 * 8,
            keep=args.keep,
            **common,
        )


def _vectors(model: Model, path: Path, args: argparse.Namespace, advance: object) -> Vectors:
    from refmicro.validation import model_name, recorded_vectors, stored_vectors

    if args.golden is not None:
        return stored_vectors(model, args.golden)
    return recorded_vectors(
        model,
        model_name(path),
        count=args.count,
        seed=args.seed,
        steps=args.steps,
        progress=advance,
    )
