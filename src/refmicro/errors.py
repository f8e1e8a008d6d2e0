"""What a user can do wrong: one sentence, one hint, one exit code each.

Exit codes are part of the contract: 0 done and equal, 1 over budget, 2 usage or a file that is no
valid model, 3 operator or type not supported, 4 numbers or arena differ, 5 environment.
"""

from __future__ import annotations


class RefmicroError(Exception):
    """Base of every error that a user can cause.

    Args:
        message: one sentence: what is wrong and where, and after a colon what was found.
        hint: what to do about it; empty if there is nothing useful to say.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RefmicroError):
    """A wrong argument, a missing file, or arrays that do not fit the model (exit 2)."""


class InvalidModelError(RefmicroError):
    """A file that is not a valid `.tflite` model (exit 2)."""


class OverBudgetError(RefmicroError):
    """A limit given by the user is exceeded (exit 1)."""

    exit_code = 1


class UnsupportedError(RefmicroError):
    """Operators or types that TFLM, or refmicro, does not support, all of them (exit 3).

    `problems` holds one sentence for each refused operator.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class DifferenceError(RefmicroError):
    """Numbers or memory differ where they must be equal (exit 4)."""

    exit_code = 4


class EnvironmentMissingError(RefmicroError):
    """The oracle, a compiler, an emulator or a board is not here (exit 5)."""

    exit_code = 5
