"""Boards on serial ports: a pseudo-terminal with the firmware behind it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from refmicro.board import build, emulator, serial_link, session
from refmicro.board.protocol import BoardError
from refmicro.errors import EnvironmentMissingError, UsageError

from .conftest import fake_model, fake_vectors

needs_serial = pytest.mark.skipif(
    importlib.util.find_spec("serial") is None or not hasattr(os, "openpty"),
    reason="no pyserial or no pseudo-terminals here; pip install refmicro[board] on Linux or "
    "macOS makes it run",
)


@pytest.fixture
def port(host_program: Path) -> Iterator[str]:
    """The name of a serial port with the fake model's runner on the other side."""
    import tty

    ours, theirs = os.openpty()
    tty.setraw(theirs)
    process = subprocess.Popen([str(host_program)], stdin=ours, stdout=ours)
    os.close(ours)
    yield os.ttyname(theirs)
    process.kill()
    process.wait()
    os.close(theirs)


@needs_serial
def test_a_whole_session(port):
    inputs, outputs = fake_vectors(2, 3)
    with serial_link.connected(port, settle_s=0) as link:
        client = session.open_session(link)
        profile = session.read_profile(client)
        found = session.compare(client, profile, inputs, outputs, 3, timeout_s=5)
    assert (found.rows, found.values, found.mismatches, found.time_us) == (6, 1200, 0, 6 * 250)


@needs_serial
def test_a_second_session_on_the_same_board(port):
    for _ in range(2):
        with serial_link.connected(port, settle_s=0) as link:
            assert session.read_profile(session.open_session(link)).model == "fake"


@needs_serial
def test_an_emulated_board_on_a_serial_port(m4, tmp_path):
    """The same firmware as on the emulator's own line, through the terminal of the system."""
    elf = build.build_runner(fake_model(), m4, tmp_path).elf
    command = [emulator.emulator_program(m4), *m4.arguments, "-display", "none", "-monitor"]
    command += ["none", "-serial", "pty", "-semihosting", "-kernel", str(elf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        port = process.stdout.readline().decode().split("redirected to ")[1].split()[0]
        with serial_link.connected(port) as link:
            client = session.open_session(link)
            profile = session.read_profile(client)
            inputs, outputs = fake_vectors(1, 2)
            found = session.compare(client, profile, inputs, outputs, 2, timeout_s=10)
            client.link.write(b"exit%")
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert (found.rows, found.mismatches) == (2, 0)
    assert found.time_us > 0


@needs_serial
def test_a_silent_port():
    _, theirs = os.openpty()
    with (
        serial_link.connected(os.ttyname(theirs), settle_s=0) as link,
        pytest.raises(BoardError, match="does not answer"),
    ):
        session.open_session(link, timeout_s=0.1)


@needs_serial
def test_a_port_that_sends_garbage():
    import tty

    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    stop = threading.Event()

    def shout() -> None:
        while not stop.wait(0.01):
            with contextlib.suppress(BlockingIOError):
                os.write(ours, b"\xf8\x80boot\r\n" * 20)

    thread = threading.Thread(target=shout)
    thread.start()
    try:
        with (
            serial_link.connected(os.ttyname(theirs), settle_s=0) as link,
            pytest.raises(BoardError, match="not of this protocol") as error,
        ):
            session.open_session(link, timeout_s=0.2)
        assert "--baud" in error.value.hint
    finally:
        stop.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


@needs_serial
def test_a_port_that_goes_away():
    import tty

    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with serial_link.connected(os.ttyname(theirs), settle_s=0) as link:
        os.close(theirs)
        os.close(ours)
        with pytest.raises(BoardError, match="the serial port has gone") as error:
            session.open_session(link, timeout_s=0.2)
    assert "unplugged" in error.value.hint


@needs_serial
def test_a_port_that_is_not_there(tmp_path):
    with (
        pytest.raises(EnvironmentMissingError, match="cannot be opened") as error,
        serial_link.connected(str(tmp_path / "ttyNONE")),
    ):
        pass
    assert "list_ports" in error.value.hint
    with pytest.raises(UsageError, match="--baud"), serial_link.connected("x", baud=0):
        pass


def test_without_pyserial(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with (
        pytest.raises(EnvironmentMissingError, match="needs pyserial") as error,
        serial_link.connected("/dev/ttyACM0"),
    ):
        pass
    assert "refmicro[board]" in error.value.hint
