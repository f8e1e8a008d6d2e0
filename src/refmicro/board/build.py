"""Compiles programs for the boards of `firmware/boards`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from refmicro.errors import EnvironmentMissingError, UsageError

from .emulated import HOW_TO_INSTALL, EmulatedBoard, find_emulated, firmware_folder

COMPILE_TIMEOUT_S = 120
STACK_BYTES = 16384

C_FLAGS = ("-std=c99", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-ffreestanding")


def compiler(board: EmulatedBoard) -> str:
    """The path of the cross compiler.

    Raises:
        EnvironmentMissingError: if it is not installed.
    """
    name = f"{board.prefix}gcc"
    found = shutil.which(name)
    if found is None:
        raise EnvironmentMissingError(
            f"no compiler for {board.id} here: {name}", hint=HOW_TO_INSTALL[name]
        )
    return found


def board_sources(board: EmulatedBoard) -> list[Path]:
    """Startup, devices and memory measurement of a board."""
    firmware = firmware_folder()
    folders = [firmware / "boards" / name for name in board.folders]
    found = [path for folder in folders for path in sorted(folder.glob("*.[cS]"))]
    return [*found, firmware / "common" / "memory.c"]


def compile_program(
    sources: Sequence[Path | str],
    board: EmulatedBoard | str,
    output: Path | str,
    *,
    includes: Sequence[Path | str] = (),
    flags: Sequence[str] = (),
    cpu_flags: Sequence[str] | None = None,
    stack_bytes: int = STACK_BYTES,
) -> Path:
    """Compile and link C sources with a `main` into a program for an emulated board.

    Args:
        sources: C or assembly files; the board's own are added.
        board: an emulated board or its id.
        output: where the ELF program is written.
        includes: folders of headers; `firmware/common` (`board.h`) is always one.
        flags: what follows `C_FLAGS`, for example `-O3` or `-DNAME=1`.
        cpu_flags: instead of the board's own, for example `-mcpu=cortex-m0plus -mthumb` on a
            Cortex-M3, which runs that core's instructions.
        stack_bytes: size of the stack.

    Raises:
        EnvironmentMissingError: no compiler here.
        UsageError: the sources do not compile; the message is the compiler's first error.
    """
    board = find_emulated(board) if isinstance(board, str) else board
    firmware = firmware_folder()
    folders = [firmware / "boards" / name for name in board.folders]
    command = [
        compiler(board),
        *(board.cpu_flags if cpu_flags is None else cpu_flags),
        *C_FLAGS,
        *flags,
        *(f"-I{folder}" for folder in (firmware / "common", *folders, *includes)),
        *(str(path) for path in (*sources, *board_sources(board))),
        "-nostartfiles",
        *_library(board),
        f"-L{firmware / 'boards'}",
        f"-T{folders[0] / 'board.ld'}",
        f"-Wl,--gc-sections,--defsym=STACK_BYTES={stack_bytes}",
        "-Wl,--no-warn-rwx-segments",
        "-o",
        str(output),
    ]
    run_compiler(command)
    return Path(output)


def _library(board: EmulatedBoard) -> tuple[str, ...]:
    """memcpy, memset and the like."""
    return ("--specs=nano.specs",) if "arm" in board.prefix else ("--specs=picolibc.specs",)


def run_compiler(command: Sequence[str]) -> None:
    """Run a compiler under a time limit.

    Raises:
        EnvironmentMissingError: it does not run, or takes too long.
        UsageError: it finds an error in the sources.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentMissingError(
            f"the compiler took longer than {COMPILE_TIMEOUT_S} s: {command[0]}"
        ) from None
    except OSError as error:
        raise EnvironmentMissingError(f"the compiler does not run: {error}") from error
    if done.returncode:
        said = [
            line
            for line in done.stderr.splitlines()
            if re.search("error|undefined|overflowed|will not fit", line)
        ]
        raise UsageError(
            f"the program does not compile: {(said or [done.stderr.strip() or 'no message'])[0]}",
            hint=f"run it by hand: {shlex.join(command)}",
        )
