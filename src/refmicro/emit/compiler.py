"""The host's C compiler: emitted files to a program, and the program's answers.

Warnings are errors, and where the compiler has the sanitizers the program runs under them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from refmicro.errors import DifferenceError, EnvironmentMissingError

FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
"""What emitted C is clean under, with GCC and Clang, for every target."""

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

COMPILE_S = 300.0
RUN_S = 300.0

_RUNNER = Path(__file__).parent / "runner.c"


def find_compiler() -> list[str] | None:
    """The command of the host's C compiler: `$CC`, else `cc`, `gcc` or `clang`; None without."""
    named = os.environ.get("CC", "")
    for command in (shlex.split(named), ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


@dataclass(frozen=True)
class Program:
    """A compiled model.

    Attributes:
        path: the executable.
        compiler: the command.
        sanitized: whether it checks its own memory accesses and arithmetic.
    """

    path: Path
    compiler: str
    sanitized: bool

    def run(self, commands: bytes) -> bytes:
        """What the program writes when it reads these commands (see `runner.c`).

        Raises:
            DifferenceError: if it fails, as it does where a sanitizer finds something.
        """
        try:
            done = subprocess.run(
                [str(self.path)], input=commands, capture_output=True, timeout=RUN_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DifferenceError(
                f"the emitted program must answer within {RUN_S:g} s: it does not"
            ) from error
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            said = next((line for line in lines if "error" in line.lower()), "nothing was said")
            raise DifferenceError(
                f"the emitted program must run to its end: status {done.returncode}, {said}",
                hint="report the model, this is a fault of an emitter",
            )
        return done.stdout


@contextlib.contextmanager
def compiled(
    files: Mapping[str, bytes], name: str, *, compiler: Sequence[str] | None = None
) -> Iterator[Program]:
    """The model's program, in a folder that goes when the block is left.

    Args:
        files: the emitted files.
        name: of the model.
        compiler: the command, found by itself where it is not given.

    Raises:
        EnvironmentMissingError: if there is no compiler.
        DifferenceError: if the C does not compile without warnings.
    """
    command = list(compiler) if compiler is not None else find_compiler()
    if command is None:
        raise EnvironmentMissingError(
            "there is no C compiler on this machine",
            hint="install gcc or clang, or name one in the variable CC",
        )
    with TemporaryDirectory(prefix="refmicro-emit-") as folder:
        for key, data in files.items():
            Path(folder, key).write_bytes(data)
        for extra in (SANITIZERS, ()):
            program = Path(folder, "model")
            call = [*command, *FLAGS, "-O1", *extra]
            call += [f"-DMODEL={name}", f'-DHEADER="{name}.h"', f"-I{folder}"]
            call += [str(Path(folder, f"{name}.c")), str(_RUNNER), "-lm", "-o", str(program)]
            done = _called(call)
            if done.returncode == 0:
                yield Program(program, " ".join(command), bool(extra))
                return
        raise DifferenceError(
            f"the emitted C must compile without a warning: {_first_line(done.stderr)}",
            hint="report the model, this is a fault of an emitter",
        )


def object_bytes(
    files: Mapping[str, bytes], name: str, command: Sequence[str], flags: Sequence[str]
) -> dict[str, int] | None:
    """Bytes of sections of the compiled model by another compiler; None where it is not there.

    Args:
        files, name: the model.
        command: the compiler.
        flags: for the machine, such as `-mcpu=cortex-m4`.

    Raises:
        DifferenceError: if the C does not compile without warnings.
    """
    size = f"{command[0][: -len('gcc')]}size" if command[0].endswith("gcc") else "size"
    if not shutil.which(command[0]) or not shutil.which(size):
        return None
    with TemporaryDirectory(prefix="refmicro-emit-") as folder:
        for key, data in files.items():
            Path(folder, key).write_bytes(data)
        target = Path(folder, "model.o")
        call = [*command, *FLAGS, *flags, "-c", str(Path(folder, f"{name}.c")), "-o", str(target)]
        done = _called(call)
        if done.returncode != 0:
            raise DifferenceError(
                f"the emitted C must compile with {command[0]} without a warning: "
                f"{_first_line(done.stderr)}",
                hint="report the model, this is a fault of an emitter",
            )
        listed = _called([size, "-A", str(target)])
        return _sections(listed.stdout)


def _sections(text: str) -> dict[str, int]:
    """Sizes by kind of section, of what `size -A` prints."""
    found = {"code": 0, "constants": 0, "static": 0}
    kinds = {".text": "code", ".rodata": "constants", ".srodata": "constants"}
    kinds |= {".data": "static", ".bss": "static", ".sdata": "static", ".sbss": "static"}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            kind = next((k for p, k in kinds.items() if words[0].startswith(p)), None)
            if kind is not None:
                found[kind] += int(words[1])
    return found


def _called(call: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            call, capture_output=True, text=True, timeout=COMPILE_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentMissingError(
            f"the compiler must answer within {COMPILE_S:g} s: {call[0]} does not"
        ) from error
    except OSError as error:
        raise EnvironmentMissingError(
            f"the compiler cannot be run: {call[0]}: {error.strerror}",
            hint="install gcc or clang, or name one in the variable CC",
        ) from error


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line or "warning" in line]
    return (lines or text.splitlines() or ["nothing was said"])[0].strip()
