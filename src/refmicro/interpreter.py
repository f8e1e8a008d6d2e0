"""The integer interpreter: prepare once, invoke many times, one vector or a whole batch.

Every tensor is held as an array of shape (B, *shape), where B is the batch or 1 where all rows
share the value. Many small operators are bound by Python's dispatch, so that a batch costs hardly
more than a single vector until arithmetic dominates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refmicro.errors import InvalidModelError, UsageError
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model, read_model
from refmicro.program import PreparedNode, Program, prepare_model
from refmicro.types import DType, Quantization, Tensor, TflmBuild

CHUNK_BYTES = 16 << 20
"""Working memory that one chunk of a batch aims at, so that its tensors stay in the cache."""

MAX_WORKING_BYTES = 1 << 30
"""A model whose tensors need more for a single vector is refused."""

Trace = Callable[[int, int, dict[int, np.ndarray]], None]
"""Called as trace(subgraph, operator, values by tensor) after each evaluation of an operator, with
every tensor that it wrote; operator -1 stands for the inputs of a subgraph."""


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
        self._graphs = tuple(_GraphPlan.of(self.program, i) for i in range(len(model.subgraphs)))
        self._check_memory()
        main = model.subgraphs[0]
        self._inputs = tuple(_details(main.tensors[i], i) for i in main.inputs)
        self._outputs = tuple(_details(main.tensors[i], i) for i in main.outputs)
        self._values: list[np.ndarray] = [
            np.zeros((1, *item.shape), item.dtype) for item in self._inputs
        ]
        self._results: list[np.ndarray] | None = None
        self._state = _State.reset(self.program, 1)

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
        self._state = _State.reset(self.program, 1, self._state)

    def invoke_batch(
        self, inputs: Sequence[np.ndarray], trace: Trace | None = None, *, threads: int = 1
    ) -> list[np.ndarray]:
        """Run rows independently of one another, every row as the first after allocation.

        Args:
            inputs: one array an input, of shape (N, *input shape), all with the same N.
            trace: called for every tensor written, with arrays of N rows; the batch then runs in
                one chunk.
            threads: how many parts of the batch run at the same time; kernels let go of Python's
                lock. Matrix products may have threads of their own: OPENBLAS_NUM_THREADS=1, set
                before NumPy is imported, leaves the processor to these.

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
        chunk = max(rows, 1) if trace else min(self.chunk_rows, -(-rows // threads) or 1)
        outputs = [np.empty((rows, *item.shape), item.dtype) for item in self._outputs]

        def run(start: int) -> None:
            part = [array[start : start + chunk] for array in arrays]
            size = min(chunk, rows - start)
            results = self._run(part, _State.reset(self.program, size), trace)
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
        state = _State.reset(self.program, rows)
        for step in range(steps):
            now = [np.ascontiguousarray(array[:, step]) for array in streams]
            results = self._run(now, state, trace)
            for output, result in zip(outputs, results, strict=True):
                output[:, step] = result
        return outputs if many else [output[0] for output in outputs]

    @property
    def chunk_rows(self) -> int:
        """Rows of a batch that are carried through the graph together."""
        return max(1, min(256, CHUNK_BYTES // max(1, max(g.peak_bytes for g in self._graphs))))

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
        self, inputs: Sequence[np.ndarray], state: _State, trace: Trace | None
    ) -> list[np.ndarray]:
        run = _Run(self._graphs, state, trace)
        return run.subgraph(0, inputs, None)


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


@dataclass(frozen=True)
class _GraphPlan:
    """What running one subgraph needs: constants, which values die after which operator, and type
    and shape of what each operator writes."""

    nodes: tuple[PreparedNode, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, np.ndarray]
    variables: frozenset[int]
    variable_inputs: tuple[int, ...]
    dead_after: tuple[tuple[int, ...], ...]
    expected: tuple[tuple[tuple[np.dtype, tuple[int, ...]], ...], ...]
    peak_bytes: int

    @staticmethod
    def of(program: Program, index: int) -> _GraphPlan:
        graph = program.model.subgraphs[index]
        constants = {
            i: tensor.array()[None]
            for i, tensor in enumerate(graph.tensors)
            if tensor.is_constant and tensor.dtype is not DType.STRING
        }
        variables = frozenset(i for i, t in enumerate(graph.tensors) if t.is_variable)
        last: dict[int, int] = {}
        for step, op in enumerate(graph.operators):
            last.update({i: step for i in (*op.inputs, *op.outputs) if i >= 0})
        keep = set(graph.outputs) | variables | constants.keys()
        dead: list[list[int]] = [[] for _ in graph.operators]
        for tensor, step in last.items():
            if tensor not in keep:
                dead[step].append(tensor)
        live = peak = sum(graph.tensors[i].nbytes for i in graph.inputs)
        for step, op in enumerate(graph.operators):
            live += sum(graph.tensors[i].nbytes for i in op.outputs)
            peak = max(peak, live)
            live -= sum(graph.tensors[i].nbytes for i in dead[step])
        return _GraphPlan(
            program.nodes[index],
            graph.tensors,
            graph.inputs,
            graph.outputs,
            constants,
            variables,
            tuple(i for i in graph.inputs if i in variables),
            tuple(tuple(items) for items in dead),
            tuple(
                tuple((t.dtype.numpy, t.shape) for t in node.node.outputs)
                for node in program.nodes[index]
            ),
            peak,
        )


@dataclass
class _State:
    """Variable tensors by (subgraph, tensor), resource variables by id, and what operators keep in
    their own data by (subgraph, operator); each with B rows."""

    batch: int
    variables: dict[tuple[int, int], np.ndarray]
    resources: list[np.ndarray]
    nodes: dict[tuple[int, int], tuple[np.ndarray, ...]]

    @staticmethod
    def reset(program: Program, batch: int, before: _State | None = None) -> _State:
        """As TFLM resets: int8 variables and resources to their zero point, others to zero bytes.

        `before` is the state that is reset, None for a new interpreter; operators without Reset
        keep theirs.

        Source: `ResetTensorData` in `tensorflow/lite/micro/micro_interpreter_graph.cc` and
        `ResetAll` in `micro_resource_variable.cc`.
        """
        variables = {}
        for number, graph in enumerate(program.model.subgraphs):
            for index, tensor in enumerate(graph.tensors):
                if tensor.is_variable:
                    points = tensor.quantization.zero_point
                    # It is memset with the point's low byte.
                    value = points[0] & 0xFF if tensor.dtype is DType.INT8 and points else 0
                    raw = np.full((batch, tensor.nbytes), value, np.uint8)
                    variables[number, index] = raw.view(tensor.dtype.numpy).reshape(
                        batch, *tensor.shape
                    )
        resources = [
            np.full((batch, item.nbytes or 0), item.reset_byte, np.uint8)
            for item in program.resources
        ]
        nodes = {}
        for number, graph_nodes in enumerate(program.nodes):
            for node in graph_nodes:
                if node.spec.state is not None:
                    place = number, node.index
                    kept = before is not None and node.spec.state_survives_reset
                    nodes[place] = (
                        before.nodes[place] if kept else node.spec.state(node.data, batch)
                    )
        return _State(batch, variables, resources, nodes)


class _Run:
    """One invocation: walks subgraphs, holds live values."""

    def __init__(self, graphs: tuple[_GraphPlan, ...], state: _State, trace: Trace | None) -> None:
        self.graphs = graphs
        self.state = state
        self.trace = trace

    def subgraph(
        self, index: int, inputs: Sequence[np.ndarray], rows: np.ndarray | None
    ) -> list[np.ndarray]:
        """Run subgraph `index` on arrays with as many rows as `rows` (None: the whole batch)."""
        graph = self.graphs[index]
        batch = self.state.batch if rows is None else len(rows)
        values = dict(graph.constants)
        values.update(zip(graph.inputs, inputs, strict=True))
        if self.trace is not None:
            self.trace(index, -1, dict(zip(graph.inputs, inputs, strict=True)))
        context = _Context(self, index, graph, values, batch, rows)
        for tensor in graph.variable_inputs:
            context.store(tensor, values[tensor])
        for node, dead, expected in zip(graph.nodes, graph.dead_after, graph.expected, strict=True):
            context.node = node.operator
            context.step = node.index
            context.expected = expected
            context.written = {}
            node.spec.eval(context, node.data)
            if self.trace is not None:
                self.trace(index, node.index, context.written)
            for tensor in dead:
                values.pop(tensor, None)
        return [context.whole(context.value(tensor)) for tensor in graph.outputs]


class _Context:
    """The `EvalContext` of one subgraph invocation."""

    __slots__ = (
        "batch",
        "expected",
        "graph",
        "index",
        "node",
        "rows",
        "run",
        "step",
        "values",
        "written",
    )

    def __init__(
        self,
        run: _Run,
        index: int,
        graph: _GraphPlan,
        values: dict[int, np.ndarray],
        batch: int,
        rows: np.ndarray | None,
    ) -> None:
        self.run = run
        self.index = index
        self.graph = graph
        self.values = values
        self.batch = batch
        self.rows = rows
        self.node: Any = None
        self.step = 0
        self.expected: tuple[tuple[np.dtype, tuple[int, ...]], ...] = ()
        self.written: dict[int, np.ndarray] = {}

    def value(self, tensor: int) -> np.ndarray:
        if tensor in self.graph.variables:
            return self.taken(self.run.state.variables[self.index, tensor])
        try:
            return self.values[tensor]
        except KeyError:
            raise InvalidModelError(
                f"subgraph {self.index}, tensor {tensor}: is read, but the operator that has it as "
                "an output does not write it",
                hint="the operator has more outputs than TFLM gives it; convert the model again",
            ) from None

    def store(self, tensor: int, array: np.ndarray) -> None:
        if tensor in self.graph.variables:
            stored = self.run.state.variables
            stored[self.index, tensor] = self.merged(stored[self.index, tensor], array)
        else:
            self.values[tensor] = array
        self.written[tensor] = array

    def whole(self, array: np.ndarray) -> np.ndarray:
        """The array with all rows of the batch."""
        if array.shape[0] == self.batch:
            return array
        return np.broadcast_to(array, (self.batch, *array.shape[1:]))

    def taken(self, stored: np.ndarray) -> np.ndarray:
        """The rows of some state that this invocation runs on."""
        return stored if self.rows is None else stored[self.rows]

    def merged(self, stored: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Some state with new values in the rows that this invocation runs on."""
        if self.rows is None:
            return self.whole(array)
        stored = stored.copy()
        stored[self.rows] = array
        return stored

    def input(self, index: int) -> np.ndarray:
        return self.value(self.node.inputs[index])

    def optional_input(self, index: int) -> np.ndarray | None:
        inputs = self.node.inputs
        if index >= len(inputs) or inputs[index] < 0:
            return None
        return self.value(inputs[index])

    def set_output(self, index: int, values: np.ndarray) -> None:
        dtype, shape = self.expected[index]
        assert values.dtype == dtype, (values.dtype, dtype)
        assert values.shape[1:] == shape, (values.shape, shape)
        self.store(self.node.outputs[index], values)

    def set_input(self, index: int, values: np.ndarray) -> None:
        self.store(self.node.inputs[index], values)

    def variable_output(self, index: int) -> np.ndarray:
        return self.value(self.node.outputs[index])

    def run_subgraph(
        self, index: int, inputs: Sequence[np.ndarray], rows: np.ndarray | None = None
    ) -> list[np.ndarray]:
        if rows is not None and self.rows is not None:
            rows = self.rows[rows]
        return self.run.subgraph(index, inputs, self.rows if rows is None else rows)

    def resource(self, identifier: int) -> np.ndarray:
        resources = self.run.state.resources
        if not 0 <= identifier < len(resources) or resources[identifier].shape[1] == 0:
            raise InvalidModelError(
                f"a resource variable must exist and be assigned somewhere: id {identifier}",
                hint="VAR_HANDLE gives ids, ASSIGN_VARIABLE next to it fixes the size",
            )
        return resources[identifier]

    def read_resource(self, identifier: int) -> np.ndarray:
        return self.taken(self.resource(identifier))

    def write_resource(self, identifier: int, values: np.ndarray) -> None:
        stored = self.resource(identifier)
        self.run.state.resources[identifier] = self.merged(stored, values)

    def read_state(self) -> tuple[np.ndarray, ...]:
        return tuple(map(self.taken, self.run.state.nodes[self.index, self.step]))

    def write_state(self, *arrays: np.ndarray) -> None:
        stored = self.run.state.nodes[self.index, self.step]
        self.run.state.nodes[self.index, self.step] = tuple(map(self.merged, stored, arrays))
