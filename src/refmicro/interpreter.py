"""The integer interpreter: prepare once, invoke many times, one vector or a whole batch.

Many small operators cost more in Python's dispatch than in arithmetic. A batch shares that cost
between its rows; single vectors, streams and loops bind their operators after a few invocations to
memory that stays (`_bound.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from refmicro._bound import BoundGraphs
from refmicro._run import GraphPlan, Run, State, Trace
from refmicro.errors import UsageError
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model, read_model
from refmicro.program import prepare_model
from refmicro.types import Quantization, Tensor, TflmBuild

CHUNK_BYTES = 16 << 20
"""Working memory that one chunk of a batch aims at, so that its tensors stay in the cache."""

SMALL_CHUNK_BYTES = 2 << 20
"""A chunk that needs no more may have many rows, which costs fewer calls."""

THREAD_WORK = 16 << 20
"""Work below which a thread of its own would take longer than it saves, see `_work`."""

_MACS_PER_BYTE = 8
"""Multiply-accumulates that take as long as one byte that an operator writes."""

MAX_WORKING_BYTES = 1 << 30
"""A model whose tensors need more for a single vector is refused."""


@dataclass(frozen=True)
class TensorDetails:
    """One input or output; also read like the wheel's dictionary, `details["shape"]`.

    Attributes:
        index: the tensor's index in subgraph 0.
        name, dtype, shape: as in the model.
        quantization: all scales and zero points.
    """

    index: int
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    quantization: Quantization

    @property
    def scale(self) -> float:
        """The first scale, 0.0 where the tensor is not quantized."""
        return self.quantization.scale[0] if self.quantization.is_affine else 0.0

    @property
    def zero_point(self) -> int:
        """The first zero point, 0 where the tensor is not quantized."""
        return self.quantization.zero_point[0] if self.quantization.is_affine else 0

    def __getitem__(self, key: str) -> Any:
        """`dtype`, `shape` or `quantization_parameters`, as the wheel has them."""
        values = self.quantization
        parameters = {
            "scales": np.array(values.scale, np.float32),
            "zero_points": np.array(values.zero_point, np.int32),
            "quantized_dimension": values.quantized_dimension,
        }
        shape = np.array(self.shape, np.int32)
        known = {
            "dtype": self.dtype.type,
            "shape": shape,
            "quantization_parameters": parameters,
            "name": self.name,
            "index": self.index,
        }
        return known[key]


class Interpreter:
    """Runs one model, with the same calls as the `tflite_micro` wheel's interpreter.

    State (variable tensors and resource variables) starts at reset and is kept from one `invoke` to
    the next, as in TFLM.
    """

    def __init__(self, model: Model, *, resource_variables: int | None = None) -> None:
        """Prepare `model`.

        Raises:
            UnsupportedError: an operator is refused.
            InvalidModelError: the graph cannot run.
        """
        # Numbers do not depend on the build; the wheel's is the one they are compared with.
        build = TflmBuild.wheel()
        self.program = prepare_model(model, build, resource_variables=resource_variables)
        self._graphs = tuple(GraphPlan.of(self.program, i) for i in range(len(model.subgraphs)))
        self._check_memory()
        main = model.subgraphs[0]
        self._inputs = tuple(_details(main.tensors[i], i) for i in main.inputs)
        self._outputs = tuple(_details(main.tensors[i], i) for i in main.outputs)
        self._values: list[np.ndarray] = [
            np.zeros((1, *item.shape), item.dtype) for item in self._inputs
        ]
        self._results: list[np.ndarray] | None = None
        self._state = State.reset(self.program, 1)
        self._bound: list[BoundGraphs] = []

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        arena_size: int | None = None,
        resource_variables: int | None = None,
    ) -> Interpreter:
        """The interpreter of a model file; `arena_size` is taken for the wheel's sake, not used."""
        return cls(read_model(path), resource_variables=resource_variables)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        arena_size: int | None = None,
        resource_variables: int | None = None,
    ) -> Interpreter:
        """The interpreter of a model in memory, see `from_file`."""
        return cls(parse_model(bytes(data)), resource_variables=resource_variables)

    def __repr__(self) -> str:
        model = self.program.model
        return (
            f"<refmicro Interpreter: {model.operator_count} operators, {len(self._inputs)} inputs>"
        )

    def _check_memory(self) -> None:
        need = sum(t.nbytes for g in self.program.model.subgraphs for t in g.tensors)
        if need > MAX_WORKING_BYTES:
            raise UsageError(
                f"the model's tensors need more than {MAX_WORKING_BYTES} bytes: {need}",
                hint="refmicro interprets models for microcontrollers",
            )

    def get_input_details(self, index: int = 0) -> TensorDetails:
        """What input `index` must look like."""
        return self._inputs[_checked("input", index, len(self._inputs))]

    def get_output_details(self, index: int = 0) -> TensorDetails:
        """What output `index` looks like."""
        return self._outputs[_checked("output", index, len(self._outputs))]

    @property
    def input_count(self) -> int:
        """Number of model inputs."""
        return len(self._inputs)

    @property
    def output_count(self) -> int:
        """Number of model outputs."""
        return len(self._outputs)

    def set_input(self, values: np.ndarray, index: int = 0) -> None:
        """Set input `index` for the next `invoke`.

        Raises:
            UsageError: wrong index, type or shape.
        """
        details = self.get_input_details(index)
        self._values[index] = _fit(values, details, index)[None]

    def invoke(self, trace: Trace | None = None) -> None:
        """Run the model once on the inputs that are set, state carried on."""
        self._results = self._run(self._values, self._state, trace)

    def get_output(self, index: int = 0) -> np.ndarray:
        """A copy of output `index` of the last `invoke`.

        Raises:
            UsageError: wrong index, or nothing was invoked yet.
        """
        _checked("output", index, len(self._outputs))
        if self._results is None:
            raise UsageError("an output can be read after invoke(): nothing was invoked yet")
        return self._results[index][0, ...].copy()

    def reset(self) -> None:
        """What TFLM's `Reset` does: variable tensors and resource variables go to their zero points
        and operators forget what they kept; CALL_ONCE alone remembers that it has run."""
        self._state = State.reset(self.program, 1, self._state)

    def invoke_batch(
        self, inputs: Sequence[np.ndarray], trace: Trace | None = None, *, threads: int = 1
    ) -> list[np.ndarray]:
        """Run rows independently of one another, every row as the first after allocation.

        Args:
            inputs: one array an input, of shape (N, *input shape), all with the same N.
            trace: called for every tensor written, with arrays of N rows; the batch then runs in
                one chunk.
            threads: at most how many parts of the batch run at the same time, fewer where there
                is little to do; kernels let go of Python's lock. Matrix products may have threads
                of their own: OPENBLAS_NUM_THREADS=1, set before NumPy is imported, leaves the
                processor to these.

        Returns:
            One array an output, of shape (N, *output shape). The interpreter's own state and
            inputs stay as they were.

        Raises:
            UsageError: wrong number of arrays, wrong type or shape, different N, or no thread.
        """
        if threads < 1:
            raise UsageError(f"at least one thread must run: {threads}")
        arrays = self._fit_batch(inputs)
        rows = arrays[0].shape[0] if arrays else 1
        threads = min(threads, 1 + rows * self._work // THREAD_WORK)
        chunk = max(rows, 1) if trace else self._chunk(rows, threads)
        outputs = [np.empty((rows, *item.shape), item.dtype) for item in self._outputs]

        def run(start: int) -> None:
            part = [array[start : start + chunk] for array in arrays]
            size = min(chunk, rows - start)
            results = self._run(part, State.reset(self.program, size), trace)
            for output, result in zip(outputs, results, strict=True):
                output[start : start + size] = result

        starts = range(0, rows, chunk)
        if threads == 1 or len(starts) < 2:
            for start in starts:
                run(start)
        else:
            # It takes longer to import than a small model takes to run.
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, starts))
        return outputs

    def invoke_sequence(
        self, inputs: Sequence[np.ndarray], trace: Trace | None = None
    ) -> list[np.ndarray]:
        """Run rows as successive steps of a stream that starts from reset state.

        Args:
            inputs: one array an input, of shape (T, *input shape) for one stream of T steps, or
                (N, T, *input shape) for N independent streams.
            trace: called for every tensor written, step by step.

        Returns:
            One array an output with the same leading axes. The interpreter's own state and inputs
            stay as they were.

        Raises:
            UsageError: wrong number of arrays, wrong type or shape, or different N or T.
        """
        if len(inputs) != len(self._inputs):
            raise UsageError(
                f"one array is needed for each of {len(self._inputs)} inputs: got {len(inputs)}",
                hint="a model with one input takes a list of one array: invoke_batch([xs])",
            )
        many = bool(inputs) and np.ndim(inputs[0]) == len(self._inputs[0].shape) + 2
        lead = 2 if many else 1
        streams = [np.asarray(array) if many else np.asarray(array)[None] for array in inputs]
        for index, (array, details) in enumerate(zip(streams, self._inputs, strict=True)):
            if array.dtype != details.dtype or array.shape[2:] != details.shape:
                raise _wrong_input(index, details, np.asarray(inputs[index]), lead)
        sizes = {array.shape[:2] for array in streams} or {(1, 1)}
        if len(sizes) > 1:
            raise UsageError(f"all inputs must have the same number of steps: {sorted(sizes)}")
        rows, steps = sizes.pop()
        outputs = [np.empty((rows, steps, *item.shape), item.dtype) for item in self._outputs]
        state = State.reset(self.program, rows)
        for step in range(steps):
            now = [np.ascontiguousarray(array[:, step]) for array in streams]
            results = self._run(now, state, trace)
            for output, result in zip(outputs, results, strict=True):
                output[:, step] = result
        return outputs if many else [output[0] for output in outputs]

    @property
    def chunk_rows(self) -> int:
        """Rows of a batch that are carried through the graph together."""
        row_bytes = max(1, max(g.peak_bytes for g in self._graphs))
        few, many = min(256, CHUNK_BYTES // row_bytes), min(2048, SMALL_CHUNK_BYTES // row_bytes)
        return max(1, few, many)

    @cached_property
    def _work(self) -> int:
        """About how long one row takes, each subgraph run once, as bytes that are written."""
        nodes = (node for nodes in self.program.nodes for node in nodes)
        macs = sum(node.spec.macs(node.node) for node in nodes)
        return sum(g.written_bytes for g in self._graphs) + macs // _MACS_PER_BYTE

    def _chunk(self, rows: int, threads: int) -> int:
        """Rows of one part: parts of one size, as many as there are threads or a multiple."""
        parts = -(-rows // self.chunk_rows)
        parts = -(-parts // threads) * threads
        return -(-rows // max(1, parts)) or 1

    def _fit_batch(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(inputs) != len(self._inputs):
            raise UsageError(
                f"one array is needed for each of {len(self._inputs)} inputs: got {len(inputs)}",
                hint="a model with one input takes a list of one array: invoke_batch([xs])",
            )
        arrays = []
        for index, (values, details) in enumerate(zip(inputs, self._inputs, strict=True)):
            array = np.ascontiguousarray(values)
            if array.dtype != details.dtype or array.shape[1:] != details.shape or not array.ndim:
                raise _wrong_input(index, details, array, 1)
            arrays.append(array)
        sizes = {array.shape[0] for array in arrays}
        if len(sizes) > 1:
            raise UsageError(f"all inputs must have the same number of rows: {sorted(sizes)}")
        return arrays

    def _run(
        self, inputs: Sequence[np.ndarray], state: State, trace: Trace | None
    ) -> list[np.ndarray]:
        if trace is not None:
            return Run(self._graphs, state, trace).subgraph(0, inputs, None)
        # Bound memory serves one thread at a time.
        try:
            bound = self._bound.pop()
        except IndexError:
            bound = BoundGraphs(self._graphs)
        try:
            return Run(self._graphs, state, None, bound).subgraph(0, inputs, None)
        finally:
            self._bound.append(bound)


def _details(tensor: Tensor, index: int) -> TensorDetails:
    return TensorDetails(index, tensor.name, tensor.dtype.numpy, tensor.shape, tensor.quantization)


def _checked(what: str, index: int, count: int) -> int:
    if not isinstance(index, (int, np.integer)) or not 0 <= index < count:
        raise UsageError(f"{what} index must be a number below {count}: {index!r}")
    return index


def _wrong_input(index: int, details: TensorDetails, array: np.ndarray, lead: int) -> UsageError:
    """`lead` is the number of axes before the tensor's own."""
    shape = ", ".join([*("NT"[-lead:] if lead == 2 else "N" * lead), *map(str, details.shape)])
    return UsageError(
        f"input {index} ('{details.name}') must be {details.dtype}[{shape}]: "
        f"got {array.dtype}{list(array.shape)}",
        hint="quantize the values first: q = round(x / scale) + zero_point",
    )


def _fit(values: np.ndarray, details: TensorDetails, index: int) -> np.ndarray:
    array = np.asarray(values, order="C")
    if array.dtype != details.dtype or array.shape != details.shape:
        raise _wrong_input(index, details, array, 0)
    return array.copy()
