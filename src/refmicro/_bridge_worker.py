"""The parent's side of the child process that runs TFLM where it may crash.

One worker serves many models and is started again only after it died. A request is a tuple
(method, args, kwargs); the reply is (True, result) or (False, exception). The child's stderr is
a file without a name, shared with the parent, so that the last words of an abort survive it.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from typing import Any

from ._bridge_build import child_environment
from ._bridge_types import OracleCrash, OracleTimeout

TIMEOUT_S = 60.0
EXIT_WAIT_S = 5.0
LOG_BYTES_MAX = 1 << 16


class Worker:
    """A child process that answers requests; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self.generation = 0
        """Counts the processes that ended; handles of an earlier one are dead."""

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "refmicro._bridge_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                env=child_environment(),
            )
        self._connection = Connection(ours.detach())

    def call(self, method: str, *args: Any, timeout_s: float = TIMEOUT_S, **kwargs: Any) -> Any:
        """Run a method of the child (`_bridge_child.py`) and return its result.

        Raises:
            OracleCrash: if the child died.
            OracleTimeout: if it did not answer in time; it is ended then.
            Exception: whatever the method raised.
        """
        with self._lock:
            if self._process is None or self._connection is None:
                self._start()
            try:
                done, result = self._exchange(method, (method, args, kwargs), timeout_s)
            except BaseException:
                self._end()
                raise
        if not done:
            raise result
        return result

    def _exchange(self, method: str, request: Any, timeout_s: float) -> tuple[bool, Any]:
        connection = self._connection
        assert connection is not None
        # Parent and child share one file position: this clears the log for the next request.
        os.ftruncate(self._log.fileno(), 0)
        os.lseek(self._log.fileno(), 0, os.SEEK_SET)
        try:
            connection.send(request)
            if not connection.poll(timeout_s):
                raise OracleTimeout(
                    f"TFLM did not come back within {timeout_s:g} s: {method}",
                    log=self._last_words(),
                    hint="the model may loop for ever; otherwise raise timeout_s",
                )
            return connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._crash(method) from error

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - LOG_BYTES_MAX)
        return os.pread(self._log.fileno(), LOG_BYTES_MAX, start).decode(errors="replace")

    def _crash(self, method: str) -> OracleCrash:
        assert self._process is not None
        try:
            code = self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        number = max(0, -code)
        how = signal.Signals(number).name if number else f"exit code {code}"
        log = self._last_words()
        lines = log.replace("\r", "\n").split("\n")
        said = "; ".join(line.strip() for line in lines[-4:] if line.strip()) or "no message"
        return OracleCrash(
            f"TFLM ended its process ({how}) in {method}: {said}", signal=number, log=log
        )

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.generation += 1
        self._process = self._connection = None

    def close(self) -> None:
        """End the child. The next call starts a new one."""
        with self._lock:
            self._end()


_shared: Worker | None = None
_shared_owner = 0


def shared_worker() -> Worker:
    """The worker of this process. A forked child gets one of its own."""
    global _shared, _shared_owner
    if _shared is None or _shared_owner != os.getpid():
        _shared, _shared_owner = Worker(), os.getpid()
        atexit.register(_close_shared, _shared_owner)
    return _shared


def _close_shared(owner: int) -> None:
    if _shared is not None and owner == os.getpid():
        _shared.close()
