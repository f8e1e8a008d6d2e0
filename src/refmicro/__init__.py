"""refmicro: the bit-exact, byte-exact reference of TensorFlow Lite Micro.

from refmicro import Interpreter, estimate
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Interpreter", "__version__", "estimate"]

if TYPE_CHECKING:
    from refmicro.estimator import estimate
    from refmicro.interpreter import Interpreter


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `refmicro estimate` never needs the interpreter.
    if name == "Interpreter":
        from refmicro.interpreter import Interpreter

        return Interpreter
    if name == "estimate":
        from refmicro.estimator import estimate

        return estimate
    raise AttributeError(f"module 'refmicro' has no attribute '{name}'")
