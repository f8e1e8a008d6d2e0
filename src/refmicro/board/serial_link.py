"""A board on a serial port, through pyserial (extra `board`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from refmicro.errors import EnvironmentMissingError, UsageError

from .protocol import BoardError

BAUD = 115200
_HINT = "`python -m serial.tools.list_ports` lists the ports; may you read and write it?"


class SerialLink:
    """An open serial port, as a `protocol.Link`; made by `connected`."""

    def __init__(self, port: Any, errors: tuple[type[Exception], ...]) -> None:
        self._port = port
        self._errors = errors

    def write(self, data: bytes) -> None:
        """Send all bytes."""
        try:
            self._port.write(data)
            self._port.flush()
        except self._errors as error:
            raise self._gone(error) from error

    def read(self, timeout_s: float) -> bytes:
        """What has arrived; empty when nothing came within the time."""
        try:
            self._port.timeout = max(timeout_s, 0)
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except self._errors as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> BoardError:
        return BoardError(
            f"the serial port has gone: {self._port.port}: {error}",
            hint="was the board unplugged or reset? connect it and try again",
        )


@contextlib.contextmanager
def connected(port: str, *, baud: int = BAUD, settle_s: float = 0.2) -> Iterator[SerialLink]:
    """Open a serial port; it is closed with the block.

    Args:
        port: a device (`/dev/ttyACM0`, `COM3`) or a URL of pyserial (`socket://localhost:7000`).
        baud: bits per second.
        settle_s: time for boards that restart when their port is opened.

    Raises:
        EnvironmentMissingError: pyserial is not installed, or the port cannot be opened.
        UsageError: the speed is none.
    """
    try:
        import serial
    except ImportError:
        raise EnvironmentMissingError(
            "a board on a serial port needs pyserial: not installed",
            hint="pip install 'refmicro[board]'",
        ) from None
    if baud < 1:
        raise UsageError(f"--baud must be at least 1: {baud}")
    try:
        opened = serial.serial_for_url(port, baudrate=baud, timeout=1, write_timeout=10)
    except (serial.SerialException, OSError, ValueError) as error:
        raise EnvironmentMissingError(
            f"the serial port cannot be opened: {port}: {error}", hint=_HINT
        ) from None
    try:
        time.sleep(settle_s)
        yield SerialLink(opened, (serial.SerialException, OSError, TypeError))
    finally:
        with contextlib.suppress(serial.SerialException, OSError):
            opened.close()
