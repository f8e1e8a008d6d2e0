"""Compiles programs for the boards of `firmware/boards`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refmicro.errors import DifferenceError, EnvironmentMissingError, UsageError

from .elf import MARKS_SECTION, read_elf
from .emulated import HOW_TO_INSTALL, EmulatedBoard, find_emulated, firmware_folder

COMPILE_TIMEOUT_S = 120
STACK_BYTES = 16384
_NO_LIBRARY = re.compile(r"cannot read spec file|(string|stdint)\.h: No such file")

_TOO_LARGE = re.compile("overflowed|will not fit")
"""What the linker says of a program that the board's memory cannot hold."""

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
        EnvironmentMissingError: it does not run, takes too long, or has no C library.
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
    if done.returncode and _NO_LIBRARY.search(done.stderr):
        raise EnvironmentMissingError(
            f"the compiler has no C library here: {Path(command[0]).name}",
            hint="install one (for example: apt-get install libnewlib-arm-none-eabi "
            "picolibc-riscv64-unknown-elf)",
        )
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


@dataclass(frozen=True)
class RunnerModel:
    """An emitted model as `golden_runner` needs it.

    Attributes:
        name: the prefix of its functions; `NAME.c` and `NAME.h` are among the files.
        files: text by file name.
        digest: says which model it is; the board returns it, see `model_digest`.
        operators: how many there are; `NAME_OPERATOR(number)` stands before each.
    """

    name: str
    files: Mapping[str, bytes]
    digest: str
    operators: int


@dataclass(frozen=True)
class Sizes:
    """Bytes by section: `.text`, `.rodata`, `.data`, `.bss`, ..., of the model's object file alone
    and of the whole program."""

    model: dict[str, int]
    program: dict[str, int]


@dataclass(frozen=True)
class Built:
    """A program that runs a model for the host, and where its memory goes."""

    elf: Path
    sizes: Sizes


def model_digest(data: bytes) -> str:
    """What a runner says about its model: the CRC-32 of the `.tflite` file."""
    return f"crc32-{zlib.crc32(data):08X}"


def golden_model_header(model: RunnerModel) -> str:
    """`golden_model.h`: what `apps/golden_runner/main.c` needs to know of the model."""
    name = model.name
    return f"""\
/* {name} for golden_runner. Made by refmicro. Do not edit. */

#ifndef GOLDEN_MODEL_H
#define GOLDEN_MODEL_H

#include "{name}.h"

#define GOLDEN_NAME "{name}"
#define GOLDEN_DIGEST "{model.digest}"
#define GOLDEN_INPUTS {name.upper()}_INPUTS
#define GOLDEN_OUTPUTS {name.upper()}_OUTPUTS
#define GOLDEN_INPUT(index) {name}_input(index)
#define GOLDEN_OUTPUT(index) {name}_output(index)
#define GOLDEN_INPUT_BYTES(index) {name}_input_bytes(index)
#define GOLDEN_OUTPUT_BYTES(index) {name}_output_bytes(index)
#define GOLDEN_RESET {name}_reset
#define GOLDEN_INVOKE {name}_invoke

#ifdef REFMICRO_MARK
#define GOLDEN_END REFMICRO_MARK({model.operators})
#else
#define GOLDEN_END ((void)0)
#endif

#endif
"""


def marks_header(model: RunnerModel) -> str:
    """Marks for counting each operator alone: no instruction, only an address in a section that
    is not loaded, and a fence for the compiler."""
    return f"""\
#define REFMICRO_MARK(number) \\
    __asm__ volatile( \\
        ".pushsection {MARKS_SECTION}, \\"\\"\\n .balign 4\\n .4byte " #number ", 1f\\n" \\
        ".popsection\\n 1:" ::: "memory")
#define {model.name.upper()}_OPERATOR(number) REFMICRO_MARK(number)
"""


def runner_sources() -> list[Path]:
    """The C files of `golden_runner`, without a board's and without the model's."""
    firmware = firmware_folder()
    common = [firmware / "common" / name for name in ("link.c", "runner.c")]
    return [*common, firmware / "apps" / "golden_runner" / "main.c"]


def build_runner(
    model: RunnerModel,
    board: EmulatedBoard,
    folder: Path,
    *,
    stack_bytes: int = STACK_BYTES,
    flags: Sequence[str] = (),
) -> Built:
    """Compile a model and `golden_runner` for an emulated board, with marks for counting.

    Raises:
        EnvironmentMissingError: no compiler here.
        UsageError: the program does not fit the board.
        DifferenceError: the emitted C does not compile.
    """
    try:
        return _built(model, board, folder, stack_bytes, flags)
    except UsageError as error:
        if _TOO_LARGE.search(error.message):
            raise
        raise DifferenceError(
            f"the emitted C must compile for {board.id}: {error.message}",
            hint="report the model, this is a fault of an emitter",
        ) from error


def _built(
    model: RunnerModel,
    board: EmulatedBoard,
    folder: Path,
    stack_bytes: int,
    flags: Sequence[str],
) -> Built:
    for name, data in model.files.items():
        (folder / name).write_bytes(data)
    (folder / "golden_model.h").write_text(golden_model_header(model))
    marks = folder / "refmicro_marks.h"
    marks.write_text(marks_header(model))
    source, object_file = folder / f"{model.name}.c", folder / f"{model.name}.o"
    flags = (*flags, "-include", str(marks))
    run_compiler(
        [
            compiler(board),
            *board.cpu_flags,
            *C_FLAGS,
            *_library(board),
            *flags,
            f"-I{folder}",
            "-c",
            str(source),
            "-o",
            str(object_file),
        ]
    )
    elf = compile_program(
        [object_file, *runner_sources()],
        board,
        folder / f"{model.name}.elf",
        includes=[folder],
        flags=flags,
        stack_bytes=stack_bytes,
    )
    return Built(elf, Sizes(section_bytes(object_file), section_bytes(elf)))


_SECTION_KINDS = ("start", "text", "rodata", "data", "bss", "stack", "ARM.exidx")
"""`.text.invoke` is of `.text`; RISC-V's `.sdata` is small `.data`."""


def section_bytes(path: Path) -> dict[str, int]:
    """Sizes of the sections that take memory, those of single functions and objects together."""
    sums: dict[str, int] = {}
    for section in read_elf(path).sections:
        kind = next(
            (kind for kind in _SECTION_KINDS if re.match(rf"\.s?{kind}\b", section.name)), None
        )
        name = f".{kind}" if kind else section.name
        if section.size_bytes:
            sums[name] = sums.get(name, 0) + section.size_bytes
    return sums
