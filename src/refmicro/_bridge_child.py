"""The child process in which TFLM may crash: `python -m refmicro._bridge_child FD`.

Answers the requests of `_bridge_worker.py` on the socket FD until the parent closes it.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from . import bridge

PARENT_POLL_S = 2.0

_oracles: dict[int, bridge.Oracle] = {}
_numbers = itertools.count()


def create(model_bytes: bytes, **options: Any) -> tuple[int, Any]:
    """Make an oracle. Returns its number and what does not change about it."""
    oracle = bridge.Oracle(model_bytes, **options)
    number = next(_numbers)
    _oracles[number] = oracle
    return number, (oracle.inputs, oracle.outputs, oracle.arena, oracle.places)


def use(number: int, method: str, *args: Any) -> Any:
    """Call a method of an oracle, or read one of its properties."""
    member = getattr(_oracles[number], method)
    return member(*args) if callable(member) else member


def close(number: int) -> None:
    """Free an oracle."""
    _oracles.pop(number).close()


def run(model_bytes: bytes, inputs: list, **options: Any) -> bridge.OracleResult:
    """`bridge.run_here` in this process."""
    return bridge.run_here(model_bytes, inputs, **options)


def used_bytes(model_bytes: bytes, **options: Any) -> int:
    """Allocate and invoke, with inputs of zeros; returns the arena's used bytes."""
    with bridge.Oracle(model_bytes, **options) as oracle:
        for info in oracle.inputs:
            oracle.set_input(bytes(info.size_bytes), info.index)
        oracle.invoke()
        return oracle.arena.used_bytes


METHODS = {function.__name__: function for function in (create, use, close, run, used_bytes)}


def _leave_with_parent(parent: int) -> None:
    """End this process when the parent is gone, even while TFLM loops for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def main(descriptor: int) -> None:
    """Serve until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch = threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True)
    watch.start()
    connection = Connection(descriptor)
    bridge.copy_log_to(sys.stderr.fileno())
    while True:
        try:
            method, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            reply = (True, METHODS[method](*args, **kwargs))
        except Exception as error:
            reply = (False, error)
        connection.send(reply)


if __name__ == "__main__":
    main(int(sys.argv[1]))
