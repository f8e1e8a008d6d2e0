"""Boards for tests: a process on this machine that runs the firmware, and what emulation needs."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from refmicro.board import build, emulated
from refmicro.board.protocol import BoardError
from refmicro.errors import EnvironmentMissingError

C_FOLDER = Path(__file__).parents[1] / "c"
FAKE_INPUT_BYTES = (100, 100)
FAKE_OUTPUT_BYTES = (200,)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class ProcessLink:
    """The standard input and output of a process, as a `protocol.Link`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError:
            raise BoardError("the process has gone") from None

    def read(self, timeout_s: float) -> bytes:
        if not self._selector.select(timeout_s):
            return b""
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            raise BoardError("the process has gone")
        return data


def fake_model() -> build.RunnerModel:
    """The model of `tests/c/fake.c`."""
    files = {name: (C_FOLDER / name).read_bytes() for name in ("fake.c", "fake.h")}
    return build.RunnerModel("fake", files, "crc32-00C0FFEE", operators=2)


def fake_vectors(streams: int, steps: int, seed: int = 0) -> tuple[list, list]:
    """Inputs, and what the fake model makes of them: plus the stream's running sum, modulo 256."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (streams, steps, sum(FAKE_INPUT_BYTES)), dtype=np.uint8)
    sums = np.cumsum(rows.sum(axis=2, dtype=np.int64), axis=1)[..., None]
    outputs = ((rows + sums) % 256).astype(np.uint8).reshape(streams * steps, -1)
    flat = rows.reshape(streams * steps, -1)
    return [flat[:, :100], flat[:, 100:]], [outputs]


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware's runner with the fake model, as a program of this machine, with sanitizers."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here; gcc or clang makes it run")
    folder = tmp_path_factory.mktemp("host_board")
    (folder / "golden_model.h").write_text(build.golden_model_header(fake_model()))
    common = emulated.firmware_folder() / "common"
    sources = [*build.runner_sources(), C_FOLDER / "host_board.c", C_FOLDER / "fake.c"]
    command = [compiler, "-std=gnu99", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    command += [f"-I{path}" for path in (common, folder, C_FOLDER)]
    command += [*map(str, sources), "-o", str(folder / "board")]
    sanitized = subprocess.run([*command, *SANITIZERS], capture_output=True, text=True)
    if sanitized.returncode and "cannot find" in sanitized.stderr:  # no sanitizer libraries
        subprocess.run(command, check=True)
    else:
        assert sanitized.returncode == 0, sanitized.stderr
    return folder / "board"


@pytest.fixture
def host_board(host_program: Path) -> Iterator[Callable[[], ProcessLink]]:
    """Starts that program; every one is ended, and its sanitizers have had nothing to say."""
    started = []

    def start() -> ProcessLink:
        process = subprocess.Popen(
            [str(host_program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return ProcessLink(process)

    yield start
    for process in started:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            said = process.stderr.read().decode(errors="replace")
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
        assert process.returncode in (0, 1), said  # 1: nobody read its answers any more
        assert not said


def missing_tools(board: emulated.EmulatedBoard) -> str:
    """Why programs for that board cannot be built and run here; empty if they can."""
    from refmicro.board import counting, emulator

    try:
        build.compiler(board)
        counting.usable_plugin(emulator.emulator_program(board))
    except EnvironmentMissingError as error:
        return f"{error.message}; {error.hint}"
    return ""


@pytest.fixture
def m4() -> emulated.EmulatedBoard:
    """The emulated Cortex-M4."""
    board = emulated.find_emulated("mps2-an386")
    if reason := missing_tools(board):
        pytest.skip(reason)
    return board


@pytest.fixture(params=list(emulated.EMULATED_BOARDS))
def any_board(request: pytest.FixtureRequest) -> emulated.EmulatedBoard:
    """Each emulated board."""
    board = emulated.find_emulated(request.param)
    if reason := missing_tools(board):
        pytest.skip(reason)
    return board
