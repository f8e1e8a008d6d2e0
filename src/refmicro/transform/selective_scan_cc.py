"""The C++ registration of SELECTIVE_SCAN: its text for firmware, and compiled for the oracle.

There is one source, `selective_scan.cc`. With `REFMICRO_BRIDGE` it declares the few names of TFLM
that it needs instead of including TFLM's headers, so that it loads into the pinned wheel.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from pathlib import Path

from refmicro import _bridge_build
from refmicro.bridge import CustomOp
from refmicro.errors import EnvironmentMissingError
from refmicro.model.graph import Model

NAME = "SELECTIVE_SCAN"
"""The custom code in a model."""

SYMBOL = "RefmicroSelectiveScan"
"""The function of the compiled library that returns the registration."""

SOURCE = Path(__file__).with_name("selective_scan.cc")


def registration_source() -> str:
    """The C++ file that a firmware compiles; its head says how it is used."""
    return SOURCE.read_text()


def custom_op() -> CustomOp:
    """The registration, compiled for the oracle once for each machine and source.

    Raises:
        EnvironmentMissingError: if the wheel or a C++ compiler is missing.
    """
    wheel = _bridge_build.wheel_library()
    digest = hashlib.sha256(SOURCE.read_bytes())
    digest.update("\0".join((str(wheel), platform.machine(), *_bridge_build.CXX_FLAGS)).encode())
    final = _bridge_build.cache_folder() / digest.hexdigest()[:32] / "selective_scan.so"
    if not final.is_file():
        try:
            _compile(wheel, final)
        except OSError as error:
            raise EnvironmentMissingError(
                f"the cache folder of the oracle is not writable: {final.parent} ({error})",
                hint="set XDG_CACHE_HOME to a folder that is",
            ) from error
    return CustomOp(NAME, str(final), SYMBOL)


def _compile(wheel: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as scratch:
        source, made = Path(scratch) / "bridge.cc", Path(scratch) / final.name
        source.write_text(f"#define REFMICRO_BRIDGE\n{registration_source()}")
        _bridge_build.compile_against_wheel(source, wheel, made)
        made.replace(final)


def custom_ops_of(model: Model) -> tuple[CustomOp, ...]:
    """The operators that the oracle needs besides TFLM's own to run a model.

    Raises:
        EnvironmentMissingError: see `custom_op`.
    """
    used = any(op.name == NAME for graph in model.subgraphs for op in graph.operators)
    return (custom_op(),) if used else ()
