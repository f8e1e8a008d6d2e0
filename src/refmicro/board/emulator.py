"""Runs a program on an emulated board, under a time limit, and counts what it executes."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from refmicro.errors import EnvironmentMissingError

from . import counting
from .counting import Counted, Counts, FunctionCounts, Place
from .elf import read_elf
from .emulated import HOW_TO_INSTALL, EmulatedBoard, find_emulated
from .protocol import BoardError

TIMEOUT_S = 60.0
_GRACE_S = 5


@dataclass(frozen=True)
class Result:
    """One run: what the program printed through `board_debug`, its status, and the counts."""

    stdout: str
    exit_code: int
    counted: Counted | None

    @property
    def total(self) -> Counts:
        """Counts of the whole run, startup included."""
        assert self.counted is not None, "the run did not count"
        return self.counted.total

    @property
    def instructions(self) -> int:
        """Instructions of the whole run."""
        return self.total.instructions

    @property
    def loads(self) -> dict[str, int]:
        """Loads of the whole run, by region."""
        return self.total.loads

    @property
    def stores(self) -> dict[str, int]:
        """Stores of the whole run, by region."""
        return self.total.stores

    @property
    def functions(self) -> dict[str, FunctionCounts]:
        """Every function that ran, by the name of its symbol."""
        assert self.counted is not None, "the run did not count"
        return self.counted.functions


def emulator_program(board: EmulatedBoard) -> str:
    """The path of the emulator.

    Raises:
        EnvironmentMissingError: if it is not installed.
    """
    found = shutil.which(board.qemu)
    if found is None:
        raise EnvironmentMissingError(
            f"no emulator for {board.id} here: {board.qemu}", hint=HOW_TO_INSTALL[board.qemu]
        )
    return found


def command_line(
    board: EmulatedBoard, elf: Path, files: Mapping[int, Path], *, serial: str, console: str
) -> list[str]:
    """The emulator's command: `serial` and `console` name character devices of QEMU."""
    command = [emulator_program(board), *board.arguments, "-display", "none", "-monitor", "none"]
    command += ["-serial", serial]
    command += ["-semihosting-config", f"enable=on,target=native,chardev={console}"]
    for address, path in files.items():
        command += ["-device", f"loader,file={_escaped(path)},addr={address:#x},force-raw=on"]
    return [*command, "-kernel", str(elf)]


def _escaped(path: Path) -> str:
    """QEMU separates options by commas; a doubled comma is one of the name."""
    return str(path).replace(",", ",,")


def plugin_options(board: EmulatedBoard, folder: Path, timeout_s: float) -> list[str]:
    """What makes the emulator count; the plan and the counts are files in `folder`."""
    parts = {
        "file": counting.usable_plugin(emulator_program(board)),
        "plan": folder / "plan",
        "out": folder / "counts",
        "parent": os.getpid(),
        "limit_s": int(timeout_s) + _GRACE_S,
    }
    return ["-plugin", ",".join(f"{k}={_escaped(Path(str(v)))}" for k, v in parts.items())]


@contextlib.contextmanager
def written(files: Mapping[int, bytes]) -> Iterator[tuple[Path, dict[int, Path]]]:
    """A folder of its own, and in it a file for each content; it goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="refmicro-") as name:
        folder = Path(name)
        paths = {address: folder / f"{address:08x}.bin" for address in files}
        for address, path in paths.items():
            path.write_bytes(files[address])
        yield folder, paths


def run(
    elf: Path | str,
    board: EmulatedBoard | str = "mps2-an386",
    *,
    regions: Mapping[str, tuple[Place, Place]] | None = None,
    spans: Mapping[str, tuple[Place, Place]] | None = None,
    files: Mapping[int, bytes] | None = None,
    timeout_s: float = TIMEOUT_S,
    count: bool = True,
) -> Result:
    """Run a program until it ends itself with `board_exit` or by returning from `main`.

    Args:
        elf: the program (see `build.compile_program`).
        board: an emulated board or its id.
        regions: what loads and stores are counted by: name to (start, end), each an address or a
            symbol; the first region that holds an address counts it, the rest is `other`. Default:
            `stack`, `ram`, `flash`.
        spans: name to (first, past): everything from executing the instruction at `first` until
            reaching the one at `past` is counted together.
        files: address to bytes that are in memory before the program starts.
        timeout_s: when to give up.
        count: without counting a run is about four times as fast.

    Raises:
        UsageError: no such board or symbol, or the file is no program.
        EnvironmentMissingError: no emulator, one that cannot count, or no end within the time.
    """
    elf = Path(elf)
    board = find_emulated(board) if isinstance(board, str) else board
    plan = counting.plan(read_elf(elf), regions, spans)
    with written(files or {}) as (folder, paths):
        command = command_line(board, elf, paths, serial="none", console="console")
        command += ["-chardev", "stdio,id=console,signal=off"]
        (folder / "plan").write_text(plan.text)
        extra = plugin_options(board, folder, timeout_s) if count else []
        done = _finished([*command, *extra], board, timeout_s)
        if done.returncode == 1 and done.stderr.startswith(board.qemu):
            raise EnvironmentMissingError(
                f"the emulator refuses: {done.stderr.strip().splitlines()[0]}",
                hint=f"run it by hand: {shlex.join(command)}",
            )
        if done.returncode < 0:
            raise EnvironmentMissingError(
                f"the emulator was ended by signal {-done.returncode}{_last_words(done.stderr)}",
                hint=f"run it by hand: {shlex.join(command)}",
            )
        counts = folder / "counts"
        text = counts.read_text() if counts.is_file() else ""
    return Result(done.stdout, done.returncode, counting.parse(text, plan) if count else None)


def _last_words(said: str) -> str:
    """Why an emulator gave up, or what a program said last: one line after a colon, or nothing."""
    fatal = re.search(r"qemu: fatal: (.*)", said)
    lines = said.strip().splitlines()
    return f": {fatal[1] if fatal else lines[-1]}" if lines else ""


def _finished(
    command: list[str], board: EmulatedBoard, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise EnvironmentMissingError(
            f"the program on {board.id} did not end within {timeout_s:g} s{_last_words(text)}",
            hint="it may wait for input or loop; give it more time if it is only slow",
        ) from None


class EmulatedLink:
    """An emulated board's serial line, as a `protocol.Link`; made by `connected`."""

    def __init__(
        self, process: subprocess.Popen[bytes], board: EmulatedBoard, folder: Path
    ) -> None:
        self._process = process
        self._board = board
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        """Send all bytes."""
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def read(self, timeout_s: float) -> bytes:
        """What has arrived; empty when nothing came within the time."""
        if not self._selector.select(max(timeout_s, 0)):
            return b""
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if not data:
            raise self._ended()
        return data

    def finish(self) -> None:
        """Wait for the program's end.

        Raises:
            BoardError: it does not end.
        """
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            raise BoardError(f"the program on {self._board.id} does not end") from None

    def _ended(self) -> BoardError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        files = (self._folder / name for name in ("console", "errors"))
        said = "\n".join(path.read_text(errors="replace") for path in files if path.is_file())
        return BoardError(
            f"the program on {self._board.id} has ended: status {self._process.returncode}"
            f"{_last_words(said)}",
            hint="a fault is often a stack that is too small (--stack)",
        )


@dataclass
class Connected:
    """A running emulated board; `counted` is there when its block has ended."""

    link: EmulatedLink
    counted: Counted | None = None


@contextlib.contextmanager
def connected(
    elf: Path,
    board: EmulatedBoard,
    *,
    regions: Mapping[str, tuple[Place, Place]] | None = None,
    spans: Mapping[str, tuple[Place, Place]] | None = None,
    limit_s: float = 3600.0,
) -> Iterator[Connected]:
    """Start a program and talk to it over its serial line; it is ended with the block.

    The block is to end the program (command `exit`), so that its counts are whole.

    Args:
        limit_s: the emulator ends itself after this time, whatever happens to this process.

    Raises:
        EnvironmentMissingError: no emulator, or one that cannot count.
        BoardError: the program did not end.
    """
    plan = counting.plan(read_elf(elf), regions, spans)
    with written({}) as (folder, _), (folder / "errors").open("wb") as errors:
        (folder / "plan").write_text(plan.text)
        command = command_line(board, elf, {}, serial="chardev:uart", console="console")
        command += ["-chardev", "stdio,id=uart,signal=off"]
        command += ["-chardev", f"file,id=console,path={_escaped(folder / 'console')}"]
        process = subprocess.Popen(
            [*command, *plugin_options(board, folder, limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            running = Connected(EmulatedLink(process, board, folder))
            yield running
            running.link.finish()
            counts = folder / "counts"
            running.counted = counting.parse(counts.read_text() if counts.is_file() else "", plan)
        finally:
            process.kill()
            with contextlib.suppress(OSError):  # what was not sent cannot be any more
                process.stdin.close()
            process.stdout.close()
            process.wait()
