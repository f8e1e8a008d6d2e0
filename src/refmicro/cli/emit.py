"""`refmicro emit`: a model as freestanding C99, proven equal before it is written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from refmicro.emit.emitter import Emitted
    from refmicro.model.graph import Model

_FPU = "-mfloat-abi=hard -mfpu=fpv"

_CROSS = {
    "cortex-m0plus": ("arm-none-eabi-gcc", "-mcpu=cortex-m0plus -mthumb"),
    "cortex-m3": ("arm-none-eabi-gcc", "-mcpu=cortex-m3 -mthumb"),
    "cortex-m4": ("arm-none-eabi-gcc", f"-mcpu=cortex-m4 -mthumb {_FPU}4-sp-d16"),
    "cortex-m7": ("arm-none-eabi-gcc", f"-mcpu=cortex-m7 -mthumb {_FPU}5-sp-d16"),
    "cortex-m55": ("arm-none-eabi-gcc", "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard"),
    "rv32im": ("riscv64-unknown-elf-gcc", "-march=rv32im -mabi=ilp32 --specs=picolibc.specs"),
    "host": ("gcc", ""),
}
"""Compiler and flags with which the size of the code is measured."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the C files"
    )
    parser.add_argument(
        "--target", default="cortex-m4", help=f"one of {', '.join(_CROSS)} (default: cortex-m4)"
    )
    parser.add_argument(
        "--name", metavar="PREFIX", help="prefix of all names (default: from the file's name)"
    )
    parser.add_argument(
        "--as-is", action="store_true", help="emit the operators as they stand, fuse nothing first"
    )
    parser.add_argument(
        "--registrations",
        action="store_true",
        help="write C++ that replaces TFLM's FULLY_CONNECTED and CONV_2D, and nothing else",
    )
    parser.add_argument(
        "--no-proof", action="store_true", help="do not compile and compare before writing"
    )
    parser.add_argument(
        "--count", type=int, default=16, help="vectors or streams of the proof (default: 16)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the vectors (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro._files import require_folder, write_files
    from refmicro.cli._json import print_json
    from refmicro.cli._progress import progress_bar
    from refmicro.emit.c_text import identifier
    from refmicro.emit.emitter import emit
    from refmicro.errors import UsageError
    from refmicro.model.reader import read_model

    if args.count < 1 or args.seed < 0:
        raise UsageError(
            f"--count must be at least 1 and --seed at least 0: {args.count} and {args.seed}"
        )
    if args.registrations and args.as_is:
        raise UsageError(
            "--as-is says how a whole model is emitted: registrations never fuse operators",
            hint="leave out --as-is or --registrations",
        )
    source = read_model(args.model)
    require_folder(args.output)
    name = args.name or identifier(_stem(args.model))
    if args.registrations:
        from refmicro.cli._registrations import write_registrations

        return write_registrations(args, source, name)
    with progress_bar("emit") as advance:
        advance("emitting", 0, 1)
        emitted = emit(source, args.target, name=name, as_it_is=args.as_is)
        proof = {"proven": False, "how": "--no-proof was given"}
        if not args.no_proof:
            proof = _prove(emitted, source, args, advance)
        code = _code_bytes(emitted)
    files = {args.output / key: data for key, data in emitted.files.items()}
    write_files(files)
    document = _document(args, source, emitted, proof, code)
    if args.json:
        print_json(document)
    else:
        _print(document)
    if not proof["proven"]:
        print(f"warning: the C was not proven: {proof['how']}", file=sys.stderr)
    return 0


def _stem(path: str) -> str:
    """What names the model: the file, or its folder where all files are called alike."""
    found = Path(path)
    return found.resolve().parent.name if found.stem == "model" else found.stem


def _prove(
    emitted: Emitted,
    source: Model,
    args: argparse.Namespace,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """What was compared, how; raises where something differs."""
    import dataclasses

    from refmicro.emit.compiler import find_compiler
    from refmicro.emit.emitter import emit
    from refmicro.emit.proof import prove
    from refmicro.errors import DifferenceError

    if find_compiler() is None:
        return {"proven": False, "how": "there is no C compiler on this machine"}
    tried = emitted
    how = "compiled and run on this machine"
    if not emitted.is_portable:
        tried = emit(source, "host", name=emitted.name, as_it_is=args.as_is)
        how += ", with plain C in the place of the target's assembly"
    found = prove(tried, source, count=args.count, seed=args.seed, progress=progress)
    if not found.equal:
        first = found.first
        raise DifferenceError(
            f"the emitted C must give the model's bytes: vector {first.row}, step {first.step}, "
            f"output {first.output}, element {first.index}: {first.want} is {first.got}",
            hint="nothing was written; report the model, this is a fault of an emitter",
        )
    facts = {"proven": True, "how": how, **dataclasses.asdict(found), "board": None}
    if not emitted.is_portable:
        facts["board"] = _prove_on_board(emitted, source, args, progress)
    return facts


def _prove_on_board(
    emitted: Emitted,
    source: Model,
    args: argparse.Namespace,
    progress: Callable[[str, int, int], None],
) -> str | None:
    """The emulated board on which the target's own code was compared too; None without one."""
    from refmicro.board.emulated import EMULATED_BOARDS
    from refmicro.emit.proof import expected
    from refmicro.errors import DifferenceError, EnvironmentMissingError
    from refmicro.validation import Vectors, validate_emulated

    board = next((b for b in EMULATED_BOARDS.values() if b.cpu == emitted.target), None)
    if board is None or args.as_is:
        return None
    inputs, outputs, steps = expected(source, count=args.count, seed=args.seed)
    rows = [tuple(a.reshape(-1, *a.shape[2:]) for a in arrays) for arrays in (inputs, outputs)]
    count = outputs[0].shape[0] if outputs else 1
    vectors = Vectors(*rows, count, steps, args.seed, "refmicro")
    try:
        found = validate_emulated(source, Path(args.model), board, vectors, progress=progress)
    except EnvironmentMissingError:
        return None
    if not found.equal:
        raise DifferenceError(
            f"the emitted C must give the model's bytes on {board.id} too: it does not",
            hint=f"nothing was written; `refmicro validate {args.model} --board qemu:{board.id}`",
        )
    return f"qemu:{board.id}"


def _code_bytes(emitted: Emitted) -> dict[str, Any] | None:
    """Sections of the compiled files, None where the target's compiler is not here."""
    from refmicro.emit.compiler import object_bytes

    compiler, flags = _CROSS[emitted.target]
    found = object_bytes(emitted.files, emitted.name, [compiler], ["-O2", *flags.split()])
    return None if found is None else {"compiler": f"{compiler} -O2 {flags}".strip(), **found}


# The report


def _document(
    args: argparse.Namespace,
    source: Model,
    emitted: Emitted,
    proof: dict[str, Any],
    code: dict[str, Any] | None,
) -> dict[str, Any]:
    constants = sum(emitted.constant_bytes.values())
    flash = {"constants_bytes": constants, "code_bytes": None, "total_bytes": None}
    if code is not None:
        flash["code_bytes"] = code["code"]
        flash["total_bytes"] = code["code"] + code["constants"]
        flash["compiler"] = code["compiler"]
    return {
        "schema_version": 1,
        "model": {
            "path": args.model,
            "sha256": source.sha256,
            "bytes": len(source.source or b""),
            "operators": source.operator_count,
        },
        "target": emitted.target,
        "name": emitted.name,
        "transforms": list(emitted.transforms),
        "ram": {
            "total_bytes": emitted.ram_bytes,
            "arena_bytes": emitted.arena_bytes,
            "state_bytes": emitted.state_bytes,
            "head_bytes": emitted.head_bytes,
            "head_lower_bound_bytes": emitted.head_lower_bound_bytes,
            "static_bytes": emitted.static_bytes,
        },
        "flash": flash,
        "operators": [
            {
                "number": number,
                "subgraph": op.subgraph,
                "index": op.index,
                "name": op.name,
                "calls": list(op.calls),
                "scratch_bytes": op.scratch_bytes,
            }
            for number, op in enumerate(emitted.operators)
        ],
        "proof": proof,
        "files": [str(args.output / key) for key in emitted.files],
    }


def _print(document: dict[str, Any]) -> None:
    """The report for people."""
    for text in document["transforms"]:
        print(f"done first: {text}")
    ram, flash = document["ram"], document["flash"]
    print(
        f"RAM: {ram['total_bytes']:,} bytes, stack not counted: state {ram['state_bytes']:,}, "
        f"tensors and scratch {ram['head_bytes']:,} "
        f"(no plan is below {ram['head_lower_bound_bytes']:,})"
    )
    if flash["total_bytes"] is None:
        print(f"flash: constants {flash['constants_bytes']:,} bytes; no compiler for the code")
    else:
        print(
            f"flash: {flash['total_bytes']:,} bytes: code {flash['code_bytes']:,}, "
            f"constants {flash['total_bytes'] - flash['code_bytes']:,} ({flash['compiler']})"
        )
    print(f"operators: {len(document['operators'])}")
    print(_proof_line(document["proof"]))
    for path in document["files"]:
        print(f"written: {path}")


def _proof_line(proof: dict[str, Any]) -> str:
    from refmicro.report.units import counted

    if not proof["proven"]:
        return f"not proven: {proof['how']}"
    checked = " under sanitizers" if proof["sanitized"] else ""
    board = f", and on {proof['board']}" if proof["board"] else ""
    return (
        "proven: every output byte equal to the model's, "
        f"{counted(proof['vectors'], 'vector')} of {counted(proof['steps'], 'step')}, "
        f"{counted(proof['values'], 'value')}, {proof['how']}{checked}{board}"
    )
