"""A model bound to its operators and prepared: what the interpreter runs, the arena counts.

`prepare_model` does what TFLM does between the flatbuffer and the memory plan: it finds every
operator, calls each `Init` and each `Prepare` in TFLM's order, and keeps what they asked for. All
refusals of a model are collected and reported at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.model.graph import Model, Operator, Subgraph, shown
from refmicro.ops import _cmsis_nn, _constant_variables, _own_output, registry
from refmicro.ops._spec import Node, OpSpec, PrepareContext, Refused
from refmicro.types import DType, Tensor, TflmBuild

DEFAULT_RESOURCE_VARIABLES = 16
"""How many resource variables TFLM's own tools allow for where a model uses them."""

MAX_CALL_DEPTH = 64
"""Subgraphs that call one another in a chain; TFLM recurses, and a microcontroller's stack ends
long before."""

MAX_PLANNED_OPERATORS = 2**18
"""Operators that TFLM's planner visits: those of a subgraph once for each call of it."""

MAX_CHANNELS = 2**18
"""Scales of all operators' tensors together; TFLM keeps some bytes for each in the arena."""

_DAMAGED = "the file is damaged; convert the model again"


@dataclass(frozen=True, eq=False)
class PreparedNode:
    """One operator after `Prepare`.

    Attributes:
        subgraph, index: where it is.
        operator: as in the model.
        spec: its kernels.
        node: the operator with its tensors.
        data: what its `prepare` returned.
        init_bytes, persistent_bytes, scratch_bytes: sizes that it asked for, in order.
        temp_tensors: tensors that it held as temporaries while preparing, in order.
        persistent_after: for each persistent request, how many temporaries it had taken before.
        subgraphs: subgraphs that it runs.
    """

    subgraph: int
    index: int
    operator: Operator
    spec: OpSpec
    node: Node
    data: Any
    init_bytes: tuple[int, ...]
    persistent_bytes: tuple[int, ...]
    scratch_bytes: tuple[int, ...]
    temp_tensors: tuple[Tensor, ...]
    persistent_after: tuple[int, ...]
    subgraphs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.spec.name


@dataclass(frozen=True)
class ResourceVariable:
    """A resource variable: names, size in bytes, and the byte it is reset to."""

    container: str | None
    shared_name: str
    nbytes: int | None = None
    reset_byte: int = 0


@dataclass(frozen=True, eq=False)
class Program:
    """A prepared model.

    Attributes:
        model: the source, with the shapes that Prepare changed.
        build: the TFLM build it was prepared for.
        nodes: prepared operators of each subgraph, in execution order.
        resources: resource variables by id.
        max_resource_variables: capacity of `MicroResourceVariables`; 0 where there is none.
    """

    model: Model
    build: TflmBuild
    nodes: tuple[tuple[PreparedNode, ...], ...]
    resources: tuple[ResourceVariable, ...]
    max_resource_variables: int


@dataclass
class _ModelState:
    """The part of the model that control flow and resource operators see (`ModelView`)."""

    model: Model
    capacity: int
    resources: list[ResourceVariable] = field(default_factory=list)
    subgraph: int = 0
    bound: dict[tuple[int, int], int] = field(default_factory=dict)
    interfaces: dict[tuple[str, int], tuple[Tensor, ...]] = field(default_factory=dict)

    def _subgraph(self, index: int) -> Subgraph:
        if not 0 <= index < len(self.model.subgraphs):
            raise Refused(
                f"a subgraph index must be below {len(self.model.subgraphs)}",
                str(index),
                malformed=True,
            )
        return self.model.subgraphs[index]

    def _interface(self, which: str, index: int) -> tuple[Tensor, ...]:
        # Kept: any number of operators may run the same subgraph.
        if (which, index) not in self.interfaces:
            graph = self._subgraph(index)
            self.interfaces[which, index] = tuple(graph.tensors[i] for i in getattr(graph, which))
        return self.interfaces[which, index]

    def subgraph_inputs(self, index: int) -> tuple[Tensor, ...]:
        return self._interface("inputs", index)

    def subgraph_outputs(self, index: int) -> tuple[Tensor, ...]:
        return self._interface("outputs", index)

    def resource_id(self, container: str | None, shared_name: str) -> int:
        for index, known in enumerate(self.resources):
            if container in (None, known.container) and known.shared_name == shared_name:
                return index
        if len(self.resources) >= self.capacity:
            raise Refused(
                f"a model may use at most {self.capacity} resource variables here",
                f"variable '{shared_name}' is one more",
            )
        self.resources.append(ResourceVariable(container, shared_name))
        return len(self.resources) - 1

    def resource_count(self) -> int:
        if self.capacity == 0:
            raise Refused(
                "an interpreter must be given room for resource variables", "room for none"
            )
        return len(self.resources)

    def allocate_resource(self, identifier: int, tensor: Tensor) -> bool:
        count = self.resource_count()
        if not 0 <= identifier < count:
            raise Refused(f"a resource variable's id must be below {count}", str(identifier))
        known = self.resources[identifier]
        if known.nbytes is not None:
            if known.nbytes != tensor.nbytes:
                raise Refused(
                    f"resource variable '{known.shared_name}' holds {known.nbytes} bytes",
                    f"{tensor.nbytes} bytes are assigned",
                    malformed=True,
                )
            return False
        zero_point = tensor.zero_point if tensor.quantization.is_affine else 0
        self.resources[identifier] = dataclasses.replace(
            known, nbytes=tensor.nbytes, reset_byte=zero_point & 0xFF
        )
        return True

    def bind_resource(self, tensor: int, identifier: int) -> None:
        self.bound[self.subgraph, tensor] = identifier

    def bound_resource(self, tensor: int) -> int | None:
        return self.bound.get((self.subgraph, tensor))


def default_resource_variables(model: Model) -> int:
    """Capacity of `MicroResourceVariables` where nobody says: 16 where the model has VAR_HANDLE."""
    uses = any(op.name == "VAR_HANDLE" for graph in model.subgraphs for op in graph.operators)
    return DEFAULT_RESOURCE_VARIABLES if uses else 0


def prepare_model(
    model: Model, build: TflmBuild, *, resource_variables: int | None = None
) -> Program:
    """Bind every operator of `model` and run `Init` and `Prepare` as TFLM does.

    Args:
        model: the model.
        build: how TFLM is built.
        resource_variables: capacity of `MicroResourceVariables`; by default 16 where the model has
            VAR_HANDLE operators, else none.

    Raises:
        UnsupportedError: all operators that TFLM or refmicro refuses, at once.
        InvalidModelError: if the graph cannot run anywhere.
    """
    specs = _find_operators(model)
    _check_values(model)
    _check_order(model)
    _check_subgraph_calls(model, specs)
    if resource_variables is None:
        resource_variables = default_resource_variables(model)
    state = _ModelState(model, resource_variables)
    problems: list[tuple[str, Refused]] = []
    nodes = tuple(
        tuple(
            prepared
            for index, op in enumerate(graph.operators)
            if (prepared := _prepare_node(state, build, specs[op.name], number, index, problems))
        )
        for number, graph in enumerate(model.subgraphs)
    )
    if problems:
        _raise_problems(problems)
    return Program(state.model, build, nodes, tuple(state.resources), resource_variables)


def place(subgraph: int, index: int, name: str) -> str:
    """How messages name an operator."""
    return f"subgraph {subgraph}, operator {index} ({shown(name)})"


def _find_operators(model: Model) -> dict[str, OpSpec]:
    """All operators of the model by name; every one that is missing is reported at once."""
    found: dict[str, OpSpec] = {}
    missing: dict[str, str] = {}
    for number, graph in enumerate(model.subgraphs):
        for index, op in enumerate(graph.operators):
            if op.name in found or op.name in missing:
                continue
            spec = registry.find(op.name)
            if spec is None:
                missing[op.name] = f"{place(number, index, op.name)}: no such operator here"
            else:
                found[op.name] = spec
    if missing:
        names = [shown(name) for name in sorted(missing)]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise UnsupportedError(
            f"operators that are not supported: {', '.join(names[:8])}{more}",
            hint="`refmicro lint` says what to write instead",
            problems=tuple(missing.values()),
        )
    return found


def _check_values(model: Model) -> None:
    """What must hold for every tensor, used or not, and for every operator before its Prepare.

    TFLM sizes all tensors when it plans (`InitializeAllocationInfo` in
    `tensorflow/lite/micro/micro_allocation_info.cc`).
    """
    for number, graph in enumerate(model.subgraphs):
        # TFLM_DECODE takes its constants as bytes, whatever their type.
        encoded = {i for op in graph.operators if op.name == "TFLM_DECODE" for i in op.inputs}
        for index, tensor in enumerate(graph.tensors):
            if tensor.dtype.itemsize_bytes is None:
                raise UnsupportedError(
                    f"subgraph {number}, tensor {index}: type must be one that TFLM knows the size "
                    f"of: {tensor.dtype}",
                    hint="`refmicro lint` says what to write instead",
                )
            is_bool = tensor.dtype is DType.BOOL and index not in encoded
            if is_bool and bytes(tensor.data or b"").strip(b"\0\1"):
                raise InvalidModelError(
                    f"subgraph {number}, tensor {index}: a bool constant must hold 0 and 1 alone: "
                    "found other bytes",
                    hint=_DAMAGED,
                )
            for scale in tensor.quantization.scale:
                if not 0 <= scale < math.inf:
                    raise InvalidModelError(
                        f"subgraph {number}, tensor {index}: scales must be finite and not "
                        f"negative: {scale}",
                        hint=_DAMAGED,
                    )
    channels = sum(
        len(graph.tensors[tensor].quantization.scale)
        for graph in model.subgraphs
        for op in graph.operators
        for tensor in (*op.inputs, *op.outputs)
        if tensor >= 0
    )
    if channels > MAX_CHANNELS:
        raise UnsupportedError(
            f"operators may use at most {MAX_CHANNELS} quantization scales here: {channels}",
            hint="TFLM keeps a multiplier and a shift for each of them in the arena",
        )


def _check_order(model: Model) -> None:
    """Every tensor must be written before it is read: TFLM would read what lies in the arena."""
    for number, graph in enumerate(model.subgraphs):
        constants = {index for index, tensor in enumerate(graph.tensors) if tensor.is_constant}
        ready = {
            index
            for index, tensor in enumerate(graph.tensors)
            if tensor.is_variable or tensor.elements == 0
        }
        ready |= constants
        ready.update(graph.inputs)
        for index, op in enumerate(graph.operators):
            for slot, tensor in enumerate(op.inputs):
                if tensor >= 0 and tensor not in ready:
                    raise InvalidModelError(
                        f"{place(number, index, op.name)}: input {slot} must be written before it "
                        f"is read: tensor {tensor} is not",
                        hint="operators must stand in execution order; the file is damaged",
                    )
            for slot, tensor in enumerate(op.outputs):
                # TFLM would write into the model, which is flash on a microcontroller.
                if tensor in constants and not graph.tensors[tensor].is_variable:
                    raise InvalidModelError(
                        f"{place(number, index, op.name)}: output {slot} must not be a constant: "
                        f"tensor {tensor} is one",
                        hint=_DAMAGED,
                    )
            ready.update(op.outputs)
        for tensor in graph.outputs:
            if tensor not in ready:
                raise InvalidModelError(
                    f"subgraph {number}: output tensor {tensor} is never written", hint=_DAMAGED
                )


def _check_subgraph_calls(model: Model, specs: dict[str, OpSpec]) -> None:
    """Subgraphs must not call one another in a circle: TFLM would recurse until the stack ends.

    Nor may calls be nested so deep, or branch so often, that a walk through them takes for ever.
    """
    calls = [
        [callee for op in graph.operators for callee in specs[op.name].subgraphs(op.options)]
        for graph in model.subgraphs
    ]
    # Prepare refuses a call of a subgraph that does not exist.
    calls = [[callee for callee in callees if 0 <= callee < len(calls)] for callees in calls]
    limit = max(MAX_PLANNED_OPERATORS, model.operator_count)
    depth: dict[int, int] = {}
    planned: dict[int, int] = {}
    for root in range(len(calls)):
        for index in _callees_first(root, calls, depth):
            depth[index] = 1 + max((depth[callee] for callee in calls[index]), default=0)
            visits = sum(planned[callee] for callee in calls[index])
            planned[index] = min(limit + 1, len(model.subgraphs[index].operators) + visits)
    deepest = max(depth.values(), default=0)
    if deepest > MAX_CALL_DEPTH:
        raise UnsupportedError(
            f"subgraphs may call one another at most {MAX_CALL_DEPTH} deep here: {deepest}",
            hint="TFLM recurses for each of them",
        )
    if max(planned.values(), default=0) > limit:
        raise UnsupportedError(
            f"a subgraph and those it calls may hold at most {limit} operators here, counted once "
            "for each call: there are more",
            hint="TFLM plans a subgraph anew for each operator that calls it",
        )


def _callees_first(root: int, calls: list[list[int]], done: dict[int, int]) -> Iterator[int]:
    """Subgraphs that `root` leads to and that are not done, each after all that it calls."""
    path = {} if root in done else {root: iter(calls[root])}
    while path:
        current = next(reversed(path))
        for callee in path[current]:
            if callee in path:
                circle = [*path][[*path].index(callee) :]
                steps = " -> ".join(str(step) for step in (*circle[:8], callee))
                raise InvalidModelError(
                    f"subgraphs must not call one another in a circle: {steps}", hint=_DAMAGED
                )
            if callee not in done:
                path[callee] = iter(calls[callee])
                break
        else:
            del path[current]
            yield current


def _prepare_again(spec: OpSpec, context: PrepareContext) -> Any:
    """What `eval` needs where constants that are variables have lost their values."""
    try:
        return spec.prepare(context)
    except Refused as refusal:
        rule = f"a constant that is a variable must fit once it is reset, too: {refusal.rule}"
        raise Refused(rule, refusal.found, malformed=True) from None


def _is_written(graph: Subgraph, tensor: int) -> bool:
    """Whether a variable may hold something else than what a reset leaves."""
    return tensor in graph.inputs or any(
        tensor in op.outputs
        or any(op.inputs[slot] == tensor for slot in _constant_variables.STATES.get(op.name, ()))
        for op in graph.operators
    )


def _prepare_node(
    state: _ModelState,
    build: TflmBuild,
    spec: OpSpec,
    subgraph: int,
    index: int,
    problems: list[tuple[str, Refused]],
) -> PreparedNode | None:
    state.subgraph = subgraph
    graph = state.model.subgraphs[subgraph]
    op = graph.operators[index]
    node = Node(
        name=op.name,
        inputs=tuple(graph.tensors[i] if i >= 0 else None for i in op.inputs),
        outputs=tuple(graph.tensors[i] for i in op.outputs),
        options=op.options,
        custom_options=op.custom_options,
        intermediates=tuple(graph.tensors[i] if i >= 0 else None for i in op.intermediates),
        version=op.code.version,
        input_indices=op.inputs,
        output_indices=op.outputs,
    )
    context = PrepareContext(node, build, state)
    try:
        _check_node(node, op)
        _own_output.check(node)
        data = spec.prepare(context)
        requests = _cmsis_nn.requests(context) if build.kernels == "cmsis-nn" else context
        seen = _constant_variables.at_run_time(node, lambda tensor: _is_written(graph, tensor))
        if seen is not node:
            data = _prepare_again(spec, PrepareContext(seen, build, state))
    except Refused as refusal:
        # Its frames would keep all of the node alive, for as many nodes as are refused.
        refusal.__traceback__ = None
        problems.append((place(subgraph, index, op.name), refusal))
        return None
    return PreparedNode(
        subgraph,
        index,
        op,
        spec,
        seen,
        data,
        spec.init_bytes(node, build),
        tuple(requests.persistent_bytes),
        tuple(requests.scratch_bytes),
        tuple(requests.temp_tensors),
        tuple(requests.persistent_after),
        spec.subgraphs(op.options),
    )


def _check_node(node: Node, op: Operator) -> None:
    """What TFLM demands of every operator, besides `_check_values`.

    Source: `CheckDynamicTensors` in `tensorflow/lite/micro/micro_interpreter_graph.cc`,
    `ValidateSubgraph` in `tensorflow/lite/micro/micro_allocation_info.cc`, and
    `PrepareNodeAndRegistrationDataFromFlatbuffer` in `tensorflow/lite/micro/micro_interpreter.cc`.
    """
    if op.custom_options and op.code.builtin != "CUSTOM":
        raise Refused(
            "a builtin operator must have no custom options", f"{len(op.custom_options)} bytes"
        )
    for what, tensors in (("input", node.inputs), ("output", node.outputs)):
        for slot, tensor in enumerate(tensors):
            if tensor is None or tensor.elements or tensor.shape == (0,):
                continue
            raise Refused(
                f"{what} {slot} must have a static shape with dimensions above 0",
                str(list(tensor.shape)),
            )
    for slot, tensor in enumerate(node.intermediates):
        if tensor is None:
            raise Refused(f"intermediate {slot} must be a tensor", "none", malformed=True)
        if tensor.elements:
            raise Refused(
                f"intermediate {slot} must have no elements", f"shape {list(tensor.shape)}"
            )


def _raise_problems(problems: list[tuple[str, Refused]]) -> None:
    lines = tuple(f"{where}: {refusal}" for where, refusal in problems)
    malformed = [
        line for line, (_, refusal) in zip(lines, problems, strict=True) if refusal.malformed
    ]
    if malformed:
        raise InvalidModelError(malformed[0], hint=_DAMAGED)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    raise UnsupportedError(
        lines[0] + more, hint="`refmicro lint` says what to write instead", problems=lines
    )


def is_computed(tensor: Tensor) -> bool:
    """Whether TFLM plans memory for the tensor: no constant, no variable, some bytes."""
    return not (tensor.is_constant or tensor.is_variable or tensor.nbytes == 0)


def has_state(program: Program) -> bool:
    """Whether an invocation can leave something behind for the next one."""
    variables = any(t.is_variable for graph in program.model.subgraphs for t in graph.tensors)
    nodes = any(node.spec.state is not None for nodes in program.nodes for node in nodes)
    return variables or nodes or bool(program.resources)
