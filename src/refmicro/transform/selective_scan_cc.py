"""The C++ registration of SELECTIVE_SCAN: its text for firmware, and compiled for the oracle.

There is one source, `selective_scan.cc`. With `REFMICRO_BRIDGE` it declares the few names of TFLM
that it needs instead of including TFLM's headers, so that it loads into the pinned wheel.
"""

from __future__ import annotations

from pathlib import Path

from refmicro import _bridge_build
from refmicro.bridge import CustomOp
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
    library = _bridge_build.built_registration(registration_source(), "selective_scan")
    return CustomOp(NAME, str(library), SYMBOL)


def custom_ops_of(model: Model) -> tuple[CustomOp, ...]:
    """The operators that the oracle needs besides TFLM's own to run a model.

    Raises:
        EnvironmentMissingError: see `custom_op`.
    """
    used = any(op.name == NAME for graph in model.subgraphs for op in graph.operators)
    return (custom_op(),) if used else ()
