"""The `refmicro` command: finds the verb, runs it, turns errors into one sentence and a code.

A verb's file is imported when it is called, so that each verb pays for its own needs only.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import itertools
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from refmicro import __version__
from refmicro.errors import RefmicroError, UsageError

VERBS = {
    "estimate": "exact arena, flash, operation and memory-access counts of a model",
    "run": "run a model in the integer interpreter on arrays from a file",
    "check": "prove refmicro equal to the real TFLM on this machine, byte for byte",
    "golden": "write golden vectors from the real TFLM",
    "lint": "what TFLM refuses in a model, what to write instead, and the resolver's code",
    "transform": "make a model smaller in RAM, proven equal before it is written",
    "emit": "a model as freestanding C99, proven equal before it is written",
    "explain": "worked arithmetic of one element, one allocation, one line that TFLM prints",
    "diff": "first difference of two archives of arrays",
    "validate": "run a model on an emulated or real board and compare its bytes",
    "train": "train a model for TFLM, and measure what each choice costs",
    "schedule": "matrix products with the fewest memory accesses: loop order, tiles, counts",
    "boards": "the table of boards",
}


PIPE_CLOSED = 141
"""Exit code when the reader of stdout has gone, as shells report it."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the words that all mistakes have."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\nhint: `{self.prog} --help` shows how it is called\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (see `refmicro.errors`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _end_in_order()
    for stream in (sys.stdout, sys.stderr):
        # A name or a bar that the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except RefmicroError as error:
        _complain(error, _command(arguments))
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print(
            "error: out of memory\nhint: the model, the arrays or the count are too large",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if not _is_about_stdout(error):
            raise
        _silence_stdout()
        if isinstance(error, BrokenPipeError):  # `| head` has read enough
            return PIPE_CLOSED
        print(f"error: cannot write to stdout: {error.strerror}", file=sys.stderr)
        return 2


def _end_in_order() -> None:
    """`timeout`, CI and a closed terminal take emulators and temporary files along, as ^C does."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _run(arguments: list[str]) -> int:
    parser = _parser(_verb(arguments))
    args = parser.parse_args(arguments)
    if getattr(args, "run", None) is None:
        parser.print_help(sys.stderr)
        return 2
    return args.run(args)


def _verb(arguments: list[str]) -> str | None:
    word = next((item for item in arguments if not item.startswith("-")), None)
    return word if word in VERBS else None


def _command(arguments: list[str]) -> str:
    """The words whose `--help` helps."""
    verb = _verb(arguments)
    if verb != "train":
        return f"refmicro {verb}" if verb else "refmicro"
    return " ".join(["refmicro", *itertools.takewhile(lambda a: a[:1] != "-", arguments[:2])])


def _is_about_stdout(error: OSError) -> bool:
    return error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO)


def _silence_stdout() -> None:
    """What is still buffered would fail once more when Python ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _parser(verb: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
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


def _complain(error: RefmicroError, command: str) -> None:
    lines = [f"error: {_printable(error.message)}"]
    problems = getattr(error, "problems", ())
    if len(problems) > 1:
        lines += [f"  {_printable(problem)}" for problem in problems]
    hint = error.hint
    if not hint and isinstance(error, UsageError):
        hint = f"`{command} --help` shows how it is called"
    if hint:
        lines.append(f"hint: {_printable(hint)}")
    print("\n".join(lines), file=sys.stderr)


def _printable(text: str) -> str:
    """Names come from files: no newline and no escape sequence of theirs reaches the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(main())
