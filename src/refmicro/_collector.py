"""Python's cyclic garbage collector, kept out of the way where no garbage is made.

A model of 10,000 operators is a million objects that all stay. The collector looks at every one of
them again each time their number has grown by a quarter, and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; afterwards it is as it was. What is freed by counting still is."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
