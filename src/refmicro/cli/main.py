"""The `refmicro` command: finds the verb, runs it, turns errors into one sentence and a code.

A verb's file is imported when it is called, so that each verb pays for its own needs only.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from refmicro import __version__
from refmicro.errors import RefmicroError

VERBS = {
    "estimate": "exact arena, flash, operation and memory-access counts of a model",
    "run": "run a model in the integer interpreter on arrays from a file",
    "check": "prove refmicro equal to the real TFLM on this machine, byte for byte",
    "golden": "write golden vectors from the real TFLM",
    "lint": "what TFLM refuses in a model, what to write instead, and the resolver's code",
    "transform": "make a model smaller in RAM, proven equal before it is written",
    "diff": "first difference of two archives of arrays",
    "train": "train a model for TFLM, and measure what each choice costs",
    "boards": "the table of boards",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (see `refmicro.errors`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A pipe that was closed (`| head`) ends the program quietly.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    verb = next((item for item in arguments if not item.startswith("-")), None)
    parser = _parser(verb if verb in VERBS else None)
    args = parser.parse_args(arguments)
    if getattr(args, "run", None) is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return args.run(args)
    except RefmicroError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory\nhint: the model or the batch is too large", file=sys.stderr)
        return 2


def _parser(verb: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refmicro",
        description="Know and prove what TensorFlow Lite Micro does with a model.",
        epilog="Exit codes: 0 done and equal, 1 over budget, 2 usage or no valid model, "
        "3 not supported, 4 numbers or arena differ, 5 no oracle, compiler or board here.",
    )
    parser.add_argument("--version", action="version", version=f"refmicro {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, text in VERBS.items():
        child = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == verb:
            importlib.import_module(f"refmicro.cli.{name}").configure(child)
    return parser


def _complain(error: RefmicroError) -> None:
    lines = [f"error: {error.message}"]
    problems = getattr(error, "problems", ())
    if len(problems) > 1:
        lines += [f"  {problem}" for problem in problems]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
