"""What the oracle reports: frozen values and errors, picklable between its two processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import RefmicroError, UsageError


class OracleError(RefmicroError):
    """TFLM did not do what was asked; `log` holds what it wrote (exit 3)."""

    exit_code = 3

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


class OracleRefusal(OracleError):
    """TFLM returned an error; `stage` is `allocate`, `invoke` or `reset`."""

    def __init__(
        self, message: str, *, stage: str = "allocate", log: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, log=log, hint=hint)
        self.stage = stage


class OracleOverrun(OracleError):
    """TFLM wrote outside the arena it was given."""


class OracleCrash(OracleError):
    """TFLM ended the child process; `signal` is the signal's number, 0 for a plain exit."""

    def __init__(self, message: str, *, signal: int = 0, log: str = "", hint: str = "") -> None:
        super().__init__(message, log=log, hint=hint)
        self.signal = signal


class OracleTimeout(OracleError):
    """TFLM did not come back within the time limit; its process was ended."""


@dataclass(frozen=True)
class CustomOp:
    """An operator of ours for TFLM's resolver.

    Attributes:
        name: the custom code in the model; empty for one that replaces the built-in operator whose
            code the registration has.
        library: path of a shared library.
        symbol: a C function in it, without arguments, that returns a `TFLMRegistration*`.
    """

    name: str
    library: str
    symbol: str


@dataclass(frozen=True)
class TensorInfo:
    """A graph input or output; `index` is its position among them, sizes are bytes.

    `scale` and `zero_point` are those of the first channel, 0 for a tensor without quantization.
    `offset` counts from the start of the arena and is None for data elsewhere.
    """

    index: int
    dtype: np.dtype
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    offset: int | None
    size_bytes: int


@dataclass(frozen=True)
class Allocation:
    """One bucket of the recording allocator."""

    requested_bytes: int
    used_bytes: int
    count: int


@dataclass(frozen=True)
class ArenaUse:
    """What the arena of `size_bytes` holds after allocation, in bytes.

    `used_bytes` is what `arena_used_bytes()` says. `categories` (by the names in `CATEGORIES`) is
    empty without the recording allocator.
    """

    size_bytes: int
    used_bytes: int
    head_bytes: int
    tail_bytes: int
    categories: Mapping[str, Allocation]


@dataclass(frozen=True)
class OracleResult:
    """What `oracle_run` saw, step by step.

    `refused` is None, or TFLM's refusal; `outputs` and `trace` then hold the steps before it.
    `inputs_info` and `outputs_info` describe the graph's inputs and outputs, empty if refused
    before the first step, as are `arena` (None), `places`, `operators` and `scratches`, the last
    three of which need `trace`.
    """

    refused: str | None
    outputs: tuple[tuple[np.ndarray, ...], ...] = ()
    arena: ArenaUse | None = None
    trace: tuple[tuple[TraceRecord, ...], ...] = ()
    places: tuple[Place, ...] = ()
    operators: tuple[OperatorUse, ...] = ()
    scratches: tuple[Scratch, ...] = ()
    inputs_info: tuple[TensorInfo, ...] = ()
    outputs_info: tuple[TensorInfo, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where memory planning put a tensor; `offset` is None for a constant."""

    subgraph: int
    tensor: int
    offset: int | None
    size_bytes: int


@dataclass(frozen=True)
class OperatorUse:
    """What an operator took from the persistent part of the arena, alignment included."""

    subgraph: int
    operator: int
    init_bytes: int
    prepare_bytes: int


@dataclass(frozen=True)
class Scratch:
    """A scratch buffer of an operator; `size_bytes` is what it asked for."""

    subgraph: int
    operator: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class TraceSlot:
    """One input or output of one evaluation.

    `tensor` is the index in the subgraph, -1 for an absent optional input. `before` and `after`
    are the bytes around the evaluation, None for constants and absent tensors. `before` of an
    output is what lay in its place: an operator may leave part of its output unwritten
    (SignalEnergy does), and what is read there later is what the arena held.
    `offset` counts from the arena's start; at or beyond the head it is persistent memory, whose
    distance from the arena's end (`ArenaUse.size_bytes`) does not depend on the arena's size.
    """

    tensor: int
    offset: int | None
    dtype: np.dtype
    shape: tuple[int, ...]
    before: bytes | None
    after: bytes | None

    def array(self) -> np.ndarray:
        """The values after the evaluation, in the tensor's type and shape."""
        if self.after is None:
            raise UsageError(f"tensor {self.tensor} was not traced: constant or absent")
        return np.frombuffer(self.after, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class TraceRecord:
    """One evaluation of one operator; `sequence` counts from 0 within one invocation.

    The order is that in which evaluations began: WHILE precedes the operators of its body.
    """

    sequence: int
    subgraph: int
    operator: int
    builtin_code: int
    custom_name: str | None
    status: int
    inputs: tuple[TraceSlot, ...]
    outputs: tuple[TraceSlot, ...]
