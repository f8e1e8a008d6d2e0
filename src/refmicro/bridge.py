"""The oracle: the real TFLM of the pinned `tflite-micro` wheel, seen through `cbridge`.

`Oracle` runs TFLM in this process; a model on which TFLM aborts takes the process with it.
`IsolatedOracle` has the same methods and works in a child process that may die. `oracle_run` is
the short way for differential tests; `smallest_arena` measures by trying.

Nothing here computes: the arithmetic is TFLM's own, so that refmicro can be judged by it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from . import _bridge_build
from ._bridge_build import TFLM_WHEEL_VERSION
from ._bridge_types import (
    Allocation,
    ArenaUse,
    CustomOp,
    OperatorUse,
    OracleCrash,
    OracleError,
    OracleOverrun,
    OracleRefusal,
    OracleResult,
    OracleTimeout,
    Place,
    Scratch,
    TensorInfo,
    TraceRecord,
    TraceSlot,
)
from ._bridge_worker import TIMEOUT_S, Worker, shared_worker
from .errors import EnvironmentMissingError, RefmicroError, UnsupportedError, UsageError

__all__ = [
    "CATEGORIES",
    "TFLM_WHEEL_VERSION",
    "Allocation",
    "ArenaUse",
    "CustomOp",
    "IsolatedOracle",
    "OperatorUse",
    "Oracle",
    "OracleCrash",
    "OracleError",
    "OracleOverrun",
    "OracleRefusal",
    "OracleResult",
    "OracleTimeout",
    "Place",
    "Scratch",
    "TensorInfo",
    "TraceRecord",
    "TraceSlot",
    "Worker",
    "arena_suffices",
    "available",
    "copy_log_to",
    "oracle_run",
    "require",
    "run_here",
    "smallest_arena",
]

ARENA_BYTES = (1 << 26, 1 << 30)
"""Arenas tried when the caller gives none; untouched pages cost nothing."""

TRACE_BYTES_MAX = 1 << 28

CATEGORIES = (
    "eval_tensors",
    "persistent_tensors",
    "quantization",
    "persistent_buffers",
    "variables",
    "nodes",
    "op_data",
    "compression",
)
"""The recording allocator's buckets in its order (`micro/recording_micro_allocator.h`)."""

# TfLiteType (tensorflow/lite/core/c/c_api_types.h) to the type of one element as TFLM stores it.
# int4 has no numpy type; TFLM counts one byte for each element of an unpacked int4 tensor. bfloat16
# is shown by its bits.
_DTYPES = {
    1: np.float32,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    8: np.complex64,
    9: np.int8,
    10: np.float16,
    11: np.float64,
    12: np.complex128,
    13: np.uint64,
    14: np.int32,
    16: np.uint32,
    17: np.uint16,
    18: np.int8,
    19: np.uint16,
}

# What TFLM writes when an arena is too small (micro_allocator.cc, single_arena_buffer_allocator.cc
# and the kernels); only used to decide whether a larger default arena is worth trying.
_SHORT_OF_MEMORY = re.compile(r"missing: |too small|[Ff]ailed to (re)?allocate|[Ff]ailed to resize")


def declarations(header: str) -> str:
    """The part of `bridge.h` that cffi can parse: no C++ blocks, no preprocessor lines."""
    plain = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    return "\n".join(line for line in plain.splitlines() if not line.startswith("#"))


def load(library: Path) -> tuple[Any, Any]:
    """Open a compiled bridge.

    Returns:
        cffi's `ffi` and `lib`.

    Raises:
        EnvironmentMissingError: if it cannot be opened or the wheel's library is unlike declared.
    """
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(declarations((_bridge_build.source_folder() / "bridge.h").read_text()))
    try:
        lib = ffi.dlopen(str(library))
    except OSError as error:
        raise EnvironmentMissingError(
            f"the oracle's bridge does not load: {error}", hint=_bridge_build.INSTALL_HINT
        ) from error
    differs = lib.rm_check_library()
    if differs != ffi.NULL:
        raise EnvironmentMissingError(
            f"TFLM in the tflite-micro wheel is unlike declared: {ffi.string(differs).decode()}",
            hint=_bridge_build.INSTALL_HINT,
        )
    return ffi, lib


@functools.cache
def _bridge() -> tuple[Any, Any]:
    try:
        import cffi  # noqa: F401
    except ImportError:
        raise EnvironmentMissingError(
            "the oracle needs cffi: not installed", hint=_bridge_build.INSTALL_HINT
        ) from None
    return load(_bridge_build.built_library())


def require() -> None:
    """Make the oracle ready: find the wheel, compile and check the bridge, open it.

    Raises:
        EnvironmentMissingError: with a sentence and a hint if any of that is not possible.
    """
    _bridge()


def available() -> bool:
    """Whether the oracle works here."""
    try:
        require()
    except EnvironmentMissingError:
        return False
    return True


def copy_log_to(descriptor: int) -> None:
    """Send a copy of all that TFLM writes to a file descriptor at once; -1 turns that off."""
    _bridge()[1].rm_copy_log_to(descriptor)


def _dtype(code: int) -> np.dtype:
    return np.dtype(_DTYPES.get(code, np.uint8))


def _log_lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


def _optional(offset: int) -> int | None:
    return None if offset < 0 else offset


class Oracle:
    """One model in the real TFLM, in this process. Use it as a context manager or call `close`.

    Set every input before each `invoke`: as in TFLM, planning leaves other bytes in their places
    and the memory of an input is used again once the input has been read.

    Args:
        model_bytes: the `.tflite` file. TFLM does not verify it: use `IsolatedOracle` for a file
            that may be damaged.
        arena_bytes: size of the arena, whose start is aligned to 16; None takes a generous one.
        resource_variables: slots for resource variables; 0 makes no object for them.
        recording: record allocations by category; the allocator itself is then larger.
        trace: keep every operator's inputs and outputs of the last invocation.
        trace_bytes_max: limit of the tensor data kept for one invocation.
        arena_fill: the byte that fills the arena before TFLM gets it.
        output_fill: with `trace`, the byte that fills each operator's outputs before it runs, where
            they share no memory with its other tensors; what then depends on it was never written.
        custom_ops: operators beyond those of the wheel.

    Raises:
        OracleRefusal: with TFLM's own words if it refuses the model.
        EnvironmentMissingError: if there is no oracle here.
    """

    def __init__(
        self,
        model_bytes: bytes,
        *,
        arena_bytes: int | None = None,
        resource_variables: int = 0,
        recording: bool = True,
        trace: bool = False,
        trace_bytes_max: int = TRACE_BYTES_MAX,
        arena_fill: int = 0,
        output_fill: int | None = None,
        custom_ops: Sequence[CustomOp | tuple[str, str, str]] = (),
    ) -> None:
        self._handle: Any = None
        self._ffi, self._lib = _bridge()
        self._recording = recording
        sizes = ARENA_BYTES if arena_bytes is None else (arena_bytes,)
        options, keep = self._options(
            model_bytes,
            resource_variables,
            recording,
            trace,
            trace_bytes_max,
            (arena_fill, -1 if output_fill is None else output_fill),
            [op if isinstance(op, CustomOp) else CustomOp(*op) for op in custom_ops],
        )
        for size in sizes:
            options.arena_bytes = size
            try:
                self._create(options)
                break
            except OracleRefusal as refusal:
                if size == sizes[-1] or not _SHORT_OF_MEMORY.search(refusal.log):
                    raise
        del keep
        self.inputs = self._tensors(self._lib.rm_input_count, self._lib.rm_input)
        self.outputs = self._tensors(self._lib.rm_output_count, self._lib.rm_output)

    def _options(
        self,
        model_bytes: bytes,
        resource_variables: int,
        recording: bool,
        trace: bool,
        trace_bytes_max: int,
        fills: tuple[int, int],
        custom_ops: list[CustomOp],
    ) -> tuple[Any, list[Any]]:
        """The C options, and what must stay alive while they are used."""
        ffi = self._ffi
        options, model = ffi.new("rm_options*"), ffi.from_buffer(model_bytes)
        options.model, options.model_bytes = ffi.cast("const uint8_t*", model), len(model_bytes)
        options.resource_variables = resource_variables
        options.recording, options.trace = recording, trace
        options.trace_bytes_max = trace_bytes_max
        options.arena_fill, options.output_fill = fills
        array = ffi.new("rm_custom_op[]", len(custom_ops) or 1)
        keep: list[Any] = [model, array]
        for row, op in zip(array, custom_ops, strict=False):
            texts = [ffi.new("char[]", text.encode()) for text in (op.name, op.library, op.symbol)]
            row.name, row.library, row.symbol = texts
            keep += texts
        options.custom_ops, options.custom_op_count = array, len(custom_ops)
        return options, keep

    def _create(self, options: Any) -> None:
        out = self._ffi.new("rm_oracle**")
        status = self._lib.rm_create(options, out)
        self._handle = out[0]
        try:
            self._check(status, "allocate")
        except RefmicroError:
            self.close()
            raise

    def _check(self, status: int, stage: str) -> None:
        if status == self._lib.RM_OK:
            return
        log = self._ffi.string(self._lib.rm_log(self._handle)).decode(errors="replace")
        lines = "; ".join(_log_lines(log)) or "no message"
        if status == self._lib.RM_REFUSED:
            raise OracleRefusal(f"TFLM refuses to {stage}: {lines}", stage=stage, log=log)
        if status == self._lib.RM_OVERRUN:
            raise OracleOverrun(f"TFLM wrote outside its arena during {stage}: {lines}", log=log)
        if status == self._lib.RM_TRACE_FULL:
            raise UsageError(
                "the trace of one invocation is larger than trace_bytes_max",
                hint="raise trace_bytes_max",
            )
        raise UsageError(f"the oracle cannot {stage}: {lines}")

    def _live(self) -> Any:
        if self._handle is None:
            raise UsageError("the oracle is closed")
        return self._handle

    def _tensors(self, count: Any, describe: Any) -> list[TensorInfo]:
        raw, handle = self._ffi.new("rm_tensor*"), self._live()
        infos = []
        for index in range(count(handle)):
            describe(handle, index, raw)
            scales = tuple(raw.scales[i] for i in range(raw.scale_count))
            zeros = tuple(raw.zero_points[i] for i in range(raw.zero_point_count))
            infos.append(
                TensorInfo(
                    index=index,
                    dtype=_dtype(raw.type),
                    shape=tuple(raw.dims[i] for i in range(raw.rank)),
                    scale=scales[0] if scales else 0.0,
                    zero_point=zeros[0] if zeros else 0,
                    scales=scales,
                    zero_points=zeros,
                    quantized_dimension=raw.quantized_dimension,
                    offset=_optional(raw.offset),
                    size_bytes=raw.bytes,
                )
            )
        return infos

    def _data(self, infos: list[TensorInfo], describe: Any, index: int, what: str) -> Any:
        handle = self._live()
        if not 0 <= index < len(infos):
            raise UsageError(f"the model has {len(infos)} {what}s: asked for {what} {index}")
        raw = self._ffi.new("rm_tensor*")
        describe(handle, index, raw)
        return self._ffi.buffer(raw.data, raw.bytes)

    def set_input(self, value: np.ndarray | bytes, index: int = 0) -> None:
        """Copy a whole input: an array of exactly the input's type and shape, or its bytes."""
        data = self._data(self.inputs, self._lib.rm_input, index, "input")
        info = self.inputs[index]
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype != info.dtype or value.shape != info.shape:
                raise UsageError(
                    f"input {index} is {info.dtype} {list(info.shape)}: "
                    f"got {value.dtype} {list(value.shape)}"
                )
            value = value.tobytes()
        if len(value) != info.size_bytes:
            raise UsageError(f"input {index} has {info.size_bytes} bytes: got {len(value)}")
        data[:] = value

    def get_output(self, index: int = 0) -> np.ndarray:
        """A copy of an output, in its type and shape.

        Raises:
            UnsupportedError: an operator gave the output a shape of another size than its memory.
        """
        data = self._data(self.outputs, self._lib.rm_output, index, "output")
        info = self.outputs[index]
        if len(data) != math.prod(info.shape) * info.dtype.itemsize:
            raise UnsupportedError(
                f"TFLM made output {index} {info.dtype} {list(info.shape)}, which is not the size "
                f"that the model declares: {len(data)} bytes",
                hint="`refmicro lint` says which operator has an output of another shape",
            )
        return np.frombuffer(bytes(data), info.dtype).reshape(info.shape)

    def invoke(self) -> None:
        """Run the model once.

        Raises:
            OracleRefusal: if an operator returns an error.
            OracleOverrun: if TFLM wrote outside the arena.
            UsageError: if the trace became larger than `trace_bytes_max`.
        """
        self._check(self._lib.rm_invoke(self._live()), "invoke")

    def reset(self) -> None:
        """Put variable tensors and resource variables back to their first values."""
        self._check(self._lib.rm_reset(self._live()), "reset")

    @functools.cached_property
    def arena(self) -> ArenaUse:
        """What the arena holds."""
        raw = self._ffi.new("rm_arena*")
        self._lib.rm_measure_arena(self._live(), raw)
        categories = {
            name: Allocation(row.requested_bytes, row.used_bytes, row.count)
            for name, row in zip(CATEGORIES, raw.categories, strict=True)
            if self._recording
        }
        return ArenaUse(raw.size_bytes, raw.used_bytes, raw.head_bytes, raw.tail_bytes, categories)

    @property
    def persistent_memory(self) -> bytes:
        """The arena's persistent part as it is now: what operators derived while preparing is in
        their structs there."""
        length = self._ffi.new("uint64_t*")
        start = self._lib.rm_persistent(self._live(), length)
        return bytes(self._ffi.buffer(start, length[0])) if length[0] else b""

    def print_allocations(self) -> list[str]:
        """The lines of the recording allocator's own report."""
        status = self._lib.rm_print_allocations(self._live())
        self._check(status, "print allocations")
        return _log_lines(self._ffi.string(self._lib.rm_log(self._handle)).decode())

    @property
    def places(self) -> list[Place]:
        """Places of all tensors that operators touch, by subgraph and tensor (needs trace)."""
        handle = self._live()
        rows = self._lib.rm_places(handle)
        return [
            Place(row.subgraph, row.tensor, _optional(row.offset), row.bytes)
            for row in (rows[i] for i in range(self._lib.rm_place_count(handle)))
        ]

    @property
    def operators(self) -> list[OperatorUse]:
        """What each operator took from the arena's tail, in model order (needs trace)."""
        handle = self._live()
        rows = self._lib.rm_operators(handle)
        return [
            OperatorUse(row.subgraph, row.operator_index, row.init_bytes, row.prepare_bytes)
            for row in (rows[i] for i in range(self._lib.rm_operator_count(handle)))
        ]

    @property
    def scratches(self) -> list[Scratch]:
        """The scratch buffers in the order of their requests (needs trace)."""
        handle = self._live()
        rows = self._lib.rm_scratches(handle)
        return [
            Scratch(row.subgraph, row.operator_index, row.offset, row.bytes)
            for row in (rows[i] for i in range(self._lib.rm_scratch_count(handle)))
        ]

    @property
    def trace(self) -> list[TraceRecord]:
        """The evaluations of the last invocation, in order; empty without `trace=True`."""
        handle, lib, ffi = self._live(), self._lib, self._ffi
        data = bytes(ffi.buffer(lib.rm_trace_data(handle), lib.rm_trace_bytes(handle)))
        records, slots = lib.rm_records(handle), lib.rm_slots(handle)
        result = []
        for sequence in range(lib.rm_record_count(handle)):
            row = records[sequence]
            first, middle = row.first_slot, row.first_slot + row.input_count
            last = middle + row.output_count
            name = row.custom_name
            result.append(
                TraceRecord(
                    sequence=sequence,
                    subgraph=row.subgraph,
                    operator=row.operator_index,
                    builtin_code=row.builtin_code,
                    custom_name=None if name == ffi.NULL else ffi.string(name).decode(),
                    status=row.status,
                    inputs=tuple(_slot(slots[i], data) for i in range(first, middle)),
                    outputs=tuple(_slot(slots[i], data) for i in range(middle, last)),
                )
            )
        return result

    def close(self) -> None:
        """Free everything; the oracle cannot be used afterwards."""
        if self._handle is not None:
            self._lib.rm_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _slot(row: Any, data: bytes) -> TraceSlot:
    before = None if row.before < 0 else data[row.before : row.before + row.bytes]
    same = row.after == row.before
    after = None if row.after < 0 else data[row.after : row.after + row.bytes]
    return TraceSlot(
        tensor=row.tensor,
        offset=_optional(row.offset),
        dtype=_dtype(row.type),
        shape=tuple(row.dims[i] for i in range(min(row.rank, 8))),
        before=before,
        after=before if same else after,
    )


class IsolatedOracle:
    """`Oracle` in a child process: the same arguments, attributes and methods.

    Args:
        timeout_s: limit for each call.
        worker: the child to use; None takes the one that all share.

    Raises:
        OracleCrash: if TFLM ended the child, here or in any method. All oracles of that child
            are then gone.
        OracleTimeout: if a call took too long.
        OracleRefusal: if TFLM refuses.
    """

    def __init__(
        self,
        model_bytes: bytes,
        *,
        timeout_s: float = TIMEOUT_S,
        worker: Worker | None = None,
        **options: Any,
    ) -> None:
        require()
        self._number: int | None = None
        self._timeout_s = timeout_s
        self._worker = worker or shared_worker()
        number, facts = self._worker.call("create", model_bytes, timeout_s=timeout_s, **options)
        self._number, self._generation = number, self._worker.generation
        self.inputs: list[TensorInfo]
        self.outputs: list[TensorInfo]
        self.arena: ArenaUse
        self.places: list[Place]
        self.inputs, self.outputs, self.arena, self.places = facts

    def _use(self, method: str, *args: Any) -> Any:
        if self._number is None:
            raise UsageError("the oracle is closed")
        if self._generation != self._worker.generation:
            raise OracleCrash("the oracle's process ended in an earlier call")
        return self._worker.call("use", self._number, method, *args, timeout_s=self._timeout_s)

    def set_input(self, value: np.ndarray | bytes, index: int = 0) -> None:
        """See `Oracle.set_input`."""
        self._use("set_input", value, index)

    def get_output(self, index: int = 0) -> np.ndarray:
        """See `Oracle.get_output`."""
        return self._use("get_output", index)

    def invoke(self) -> None:
        """See `Oracle.invoke`."""
        self._use("invoke")

    def reset(self) -> None:
        """See `Oracle.reset`."""
        self._use("reset")

    @property
    def persistent_memory(self) -> bytes:
        """See `Oracle.persistent_memory`."""
        return self._use("persistent_memory")

    def print_allocations(self) -> list[str]:
        """See `Oracle.print_allocations`."""
        return self._use("print_allocations")

    @property
    def operators(self) -> list[OperatorUse]:
        """See `Oracle.operators`."""
        return self._use("operators")

    @property
    def scratches(self) -> list[Scratch]:
        """See `Oracle.scratches`."""
        return self._use("scratches")

    @property
    def trace(self) -> list[TraceRecord]:
        """See `Oracle.trace`."""
        return self._use("trace")

    def close(self) -> None:
        """Free the oracle in the child."""
        if self._number is not None and self._generation == self._worker.generation:
            self._worker.call("close", self._number, timeout_s=self._timeout_s)
        self._number = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def run_here(
    model_bytes: bytes,
    inputs: Sequence[Sequence[np.ndarray | bytes]],
    *,
    resource_variables: int = 16,
    trace: bool = False,
    arena: bool = True,
    reset_between: bool = False,
    **options: Any,
) -> OracleResult:
    """`oracle_run` in this process, without its protection and time limit."""
    outputs: list[tuple[np.ndarray, ...]] = []
    traces: list[tuple[TraceRecord, ...]] = []
    facts: dict[str, Any] = {}
    refused = None
    try:
        with Oracle(
            model_bytes,
            resource_variables=resource_variables,
            recording=arena,
            trace=trace,
            **options,
        ) as oracle:
            facts = {
                "arena": oracle.arena if arena else None,
                "places": tuple(oracle.places),
                "operators": tuple(oracle.operators),
                "scratches": tuple(oracle.scratches),
                "inputs_info": tuple(oracle.inputs),
                "outputs_info": tuple(oracle.outputs),
            }
            for step in inputs:
                if reset_between:
                    oracle.reset()
                if len(step) != len(oracle.inputs):
                    raise UsageError(f"the model has {len(oracle.inputs)} inputs: got {len(step)}")
                for index, value in enumerate(step):
                    oracle.set_input(value, index)
                oracle.invoke()
                outputs.append(tuple(oracle.get_output(i) for i in range(len(oracle.outputs))))
                if trace:
                    traces.append(tuple(oracle.trace))
    except OracleRefusal as refusal:
        refused = refusal.message
    return OracleResult(refused, tuple(outputs), trace=tuple(traces), **facts)


def oracle_run(
    model_bytes: bytes,
    inputs: Sequence[Sequence[np.ndarray | bytes]],
    *,
    resource_variables: int = 16,
    trace: bool = False,
    arena: bool = True,
    reset_between: bool = False,
    timeout_s: float = TIMEOUT_S,
    **options: Any,
) -> OracleResult:
    """Run a model in the shared child, from reset state, one step after the other.

    Args:
        model_bytes: the `.tflite` file.
        inputs: for each step one value for each graph input; no steps means: only allocate.
        resource_variables: slots for resource variables (they take arena, used or not).
        trace: keep every operator's tensors, step by step.
        arena: measure with the recording allocator.
        reset_between: reset state before each step, so that steps do not see one another.
        timeout_s: limit for the whole run.
        options: further arguments of `Oracle`.

    Returns:
        The result; a refusal is part of it and not an exception.

    Raises:
        OracleCrash: if TFLM ended the child.
        OracleTimeout: if it took longer than `timeout_s`.
    """
    require()
    return shared_worker().call(
        "run",
        model_bytes,
        [list(step) for step in inputs],
        resource_variables=resource_variables,
        trace=trace,
        arena=arena,
        reset_between=reset_between,
        timeout_s=timeout_s,
        **options,
    )


def arena_suffices(
    model_bytes: bytes,
    arena_bytes: int,
    *,
    resource_variables: int = 0,
    recording: bool = False,
    timeout_s: float = TIMEOUT_S,
    **options: Any,
) -> bool:
    """Whether `AllocateTensors` and one `Invoke` succeed in an arena of that size.

    The inputs are zeros. A refusal, a crash and a write outside the arena all mean no.
    """
    require()
    try:
        shared_worker().call(
            "used_bytes",
            model_bytes,
            arena_bytes=arena_bytes,
            resource_variables=resource_variables,
            recording=recording,
            timeout_s=timeout_s,
            **options,
        )
    except (OracleRefusal, OracleOverrun, OracleCrash):
        return False
    return True


def smallest_arena(
    model_bytes: bytes,
    *,
    resource_variables: int = 0,
    recording: bool = False,
    timeout_s: float = TIMEOUT_S,
    **options: Any,
) -> int:
    """The smallest arena, a multiple of 16 bytes from an aligned start, that suffices.

    Found by trying, upwards from `arena_used_bytes()`, below which no arena can suffice.

    Raises:
        OracleError: if the model does not run in a generous arena either.
    """
    settings = {"resource_variables": resource_variables, "recording": recording, **options}
    require()
    used = shared_worker().call("used_bytes", model_bytes, timeout_s=timeout_s, **settings)
    high = -(-used // 16)  # in units of 16 bytes from here on
    low, step = high - 1, 1
    while not arena_suffices(model_bytes, 16 * high, timeout_s=timeout_s, **settings):
        low, high, step = high, high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if arena_suffices(model_bytes, 16 * middle, timeout_s=timeout_s, **settings):
            high = middle
        else:
            low = middle
    return 16 * high
