"""What an operator is to refmicro: `OpSpec`, and what `prepare` and `eval` see of the graph.

An operator's file holds one `OP = OpSpec(...)`. Its functions mirror TFLM's registration:
`init_bytes` is `Init`, `prepare` is `Prepare` and may refuse, `eval` is `Eval` and runs blind.
Prepare sees tensors as values; eval sees arrays that all carry a leading batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np

from refmicro.types import Abi, DType, Tensor, TflmBuild


class Refused(Exception):
    """TFLM refuses this operator: the rule in words, and what was found.

    `malformed` marks a graph that no runtime could run (exit 2) against one that TFLM does not
    support (exit 3).
    """

    def __init__(self, rule: str, found: str, *, malformed: bool = False) -> None:
        super().__init__(f"{rule}: {found}")
        self.rule = rule
        self.found = found
        self.malformed = malformed


@dataclass(frozen=True, eq=False)
class OpData:
    """Bytes of the struct that `Init` allocates, by build; the `user_data` of TFLM's node.

    Attributes:
        lp64, ilp32: `sizeof` with the reference kernels.
        compression: bytes that USE_TFLM_COMPRESSION adds.
        cmsis_nn: `sizeof` on ilp32 with the CMSIS-NN kernel, where there is one.
    """

    lp64: int
    ilp32: int
    compression: int = 0
    cmsis_nn: int | None = None

    def bytes(self, build: TflmBuild) -> int:
        """The size in this build."""
        if build.kernels == "cmsis-nn" and self.cmsis_nn is not None:
            return self.cmsis_nn
        size = self.lp64 if build.abi is Abi.LP64 else self.ilp32
        return size + (self.compression if build.compression else 0)


@dataclass(frozen=True, eq=False)
class Node:
    """One operator as its kernels see it.

    `inputs`, `outputs` and `intermediates` are tensors; an absent optional input is None.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    custom_options: bytes = b""
    intermediates: tuple[Tensor | None, ...] = ()
    version: int = 1
    input_indices: tuple[int, ...] = ()
    output_indices: tuple[int, ...] = ()

    def input(self, index: int) -> Tensor | None:
        """Input `index`, None where it is absent or beyond the list."""
        return self.inputs[index] if index < len(self.inputs) else None


class ModelView(Protocol):
    """What control flow and resource variables see of the whole model while preparing."""

    def subgraph_inputs(self, index: int) -> tuple[Tensor, ...]:
        """Input tensors of a subgraph; raises `Refused` where there is no such subgraph."""

    def subgraph_outputs(self, index: int) -> tuple[Tensor, ...]:
        """Output tensors of a subgraph; raises `Refused` where there is no such subgraph."""

    def resource_id(self, container: str | None, shared_name: str) -> int:
        """Id of a resource variable, a new one if the pair of names is new."""

    def resource_count(self) -> int:
        """How many resource variables there are by now; raises `Refused` where none can be."""

    def allocate_resource(self, identifier: int, tensor: Tensor) -> bool:
        """Fix a variable's size at its first ASSIGN; whether this was the first.

        Raises `Refused` where there is no such variable or it has another size.
        """

    def bind_resource(self, tensor: int, identifier: int) -> None:
        """Tensor `tensor` of the subgraph that is being prepared holds this variable's id."""

    def bound_resource(self, tensor: int) -> int | None:
        """The variable's id that tensor `tensor` is known to hold while preparing, else None."""


@dataclass
class PrepareContext:
    """TFLM's context during `Prepare`; it records every request for memory, in order.

    Attributes:
        node: the operator.
        build: how TFLM was built.
        model: the rest of the model.
        persistent_bytes: sizes of `AllocatePersistentBuffer` calls.
        persistent_after: for each of them, how many temporaries had been taken before it.
        scratch_bytes: sizes of `RequestScratchBufferInArena` calls.
        temp_tensors: tensors behind `AllocateTempInputTensor` and its siblings; freed only when the
            operator's Prepare ends, so they count for the smallest arena.
    """

    node: Node
    build: TflmBuild
    model: ModelView
    persistent_bytes: list[int] = field(default_factory=list)
    persistent_after: list[int] = field(default_factory=list)
    scratch_bytes: list[int] = field(default_factory=list)
    temp_tensors: list[Tensor] = field(default_factory=list)

    @property
    def options(self) -> Mapping[str, Any]:
        """Fields of the builtin options table, snake case."""
        return self.node.options

    def _temp(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is not None:
            self.temp_tensors.append(tensor)
        return tensor

    def optional_input(self, index: int) -> Tensor | None:
        """`AllocateTempInputTensor`: None where the input is absent."""
        return self._temp(self.node.input(index))

    def input(self, index: int) -> Tensor:
        """`AllocateTempInputTensor` of an input that must be there."""
        tensor = self.optional_input(index)
        if tensor is None:
            self.refuse(f"input {index} must be present", f"{len(self.node.inputs)} inputs")
        return tensor

    def output(self, index: int) -> Tensor:
        """`AllocateTempOutputTensor` of an output that must be there."""
        if index >= len(self.node.outputs):
            self.refuse(f"output {index} must be present", f"{len(self.node.outputs)} outputs")
        tensor = self.node.outputs[index]
        self.temp_tensors.append(tensor)
        return tensor

    def intermediate(self, index: int) -> Tensor:
        """`AllocateTempIntermediateTensor`."""
        tensors = self.node.intermediates
        tensor = tensors[index] if index < len(tensors) else None
        if tensor is None:
            self.refuse(f"intermediate {index} must be present", f"{len(tensors)} intermediates")
        self.temp_tensors.append(tensor)
        return tensor

    def persistent(self, nbytes: int) -> None:
        """`AllocatePersistentBuffer`: from the tail, aligned to 16 bytes."""
        self.persistent_bytes.append(nbytes)
        self.persistent_after.append(len(self.temp_tensors))

    def scratch(self, nbytes: int) -> int:
        """`RequestScratchBufferInArena`: planned in the head, alive during this operator only."""
        if len(self.scratch_bytes) == 12:
            self.refuse("an operator may request at most 12 scratch buffers", "a 13th request")
        self.scratch_bytes.append(nbytes)
        return len(self.scratch_bytes) - 1

    def refuse(self, rule: str, found: object, *, malformed: bool = False) -> NoReturn:
        """TFLM's Prepare returns an error here."""
        raise Refused(rule, str(found), malformed=malformed)

    def require(self, condition: bool, rule: str, found: object) -> None:
        """`TF_LITE_ENSURE`: refuse unless `condition`."""
        if not condition:
            self.refuse(rule, found)

    def require_shape(self, condition: bool, rule: str, found: object) -> None:
        """A shape that TFLM does not check but would read or write out of bounds with."""
        if not condition:
            self.refuse(rule, found, malformed=True)

    def require_type(self, what: str, tensor: Tensor, *allowed: DType) -> None:
        """Refuse unless the tensor's type is one of `allowed`."""
        if tensor.dtype not in allowed:
            names = " or ".join(str(dtype) for dtype in allowed)
            self.refuse(f"{what} must be {names}", tensor.dtype)


class EvalContext(Protocol):
    """What `eval` sees: arrays of shape (B, *tensor shape), B the batch, or 1 for constants.

    Arrays given out must not be written to; an operator that changes a variable tensor in place
    passes the new array to `set_input`.
    """

    batch: int

    def input(self, index: int) -> np.ndarray:
        """Values of input `index`."""

    def optional_input(self, index: int) -> np.ndarray | None:
        """Values of input `index`, None where it is absent."""

    def set_output(self, index: int, values: np.ndarray) -> None:
        """Values of output `index`: shape (B or 1, *shape), the tensor's type."""

    def set_input(self, index: int, values: np.ndarray) -> None:
        """New values of the variable tensor behind input `index`."""

    def variable_output(self, index: int) -> np.ndarray:
        """Values of output `index` before this invocation; it must be a variable tensor."""

    def run_subgraph(
        self, index: int, inputs: Sequence[np.ndarray], rows: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Run another subgraph; `rows` restricts it to these rows of the batch."""

    def read_resource(self, identifier: int) -> np.ndarray:
        """Raw bytes of a resource variable, uint8 of shape (B, bytes)."""

    def write_resource(self, identifier: int, values: np.ndarray) -> None:
        """New raw bytes of a resource variable."""

    def read_state(self) -> tuple[np.ndarray, ...]:
        """What this node kept of its last invocation, see `OpSpec.state`; not to be written to."""

    def write_state(self, *arrays: np.ndarray) -> None:
        """What this node keeps for its next invocation: as many arrays, of B rows or 1."""


Step = tuple[Callable[..., Any], tuple]
"""A call that one invocation makes: the function and its arguments."""


def run_steps(steps: Iterable[Step]) -> None:
    """Make the calls, one after the other."""
    for function, arguments in steps:
        function(*arguments)


class BindContext(Protocol):
    """What `bind` sees: arrays that stay where they are, while their values come and go.

    All have a leading batch axis of `rows`, or of 1 where all rows share a constant. Steps may
    only read inputs and must write every element of their outputs, which are contiguous. Only a
    variable tensor that `eval` hands to `set_input` is written in place: it holds the values of the
    last invocation, contiguous, and no other tensor's memory is a view of it.
    """

    rows: int
    runs: int
    """How often this subgraph has run by now."""

    def input(self, index: int) -> np.ndarray:
        """Memory of input `index`."""

    def optional_input(self, index: int) -> np.ndarray | None:
        """Memory of input `index`, None where it is absent."""

    def output(self, index: int) -> np.ndarray:
        """Memory of output `index`."""

    def state(self) -> tuple[np.ndarray, ...]:
        """Memory of what this node keeps, see `OpSpec.state`, which steps write in place: it holds
        the values of the last invocation, contiguous."""

    def place(self, index: int, source: int, memory: np.ndarray) -> None:
        """Let output `index` be a contiguous view of the memory of input `source`."""


def _bind_data(ctx: BindContext, data: Any) -> list[Step] | None:
    bind = getattr(data, "bind", None)
    return None if bind is None else bind(ctx)


def _no_macs(node: Node) -> int:
    return 0


def _no_subgraphs(options: Mapping[str, Any]) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True, eq=False)
class OpSpec:
    """One operator.

    Attributes:
        name: TFLM's builtin name or the custom code.
        prepare: checks the node, requests memory, returns the data that `eval` needs.
        eval: computes outputs. Reads from and writes to the context only.
        bind: calls that compute the same as `eval` in memory that stays, or None where `eval` is to
            run; by default what the data's own method `bind` gives, if it has one.
        op_data: bytes that `Init` allocates; a callable of (node, build) where it allocates several
            or a size that depends on the node; None where there is no Init.
        params: name of the TfLite*Params struct that the parser allocates as builtin data, or None
            where the parser allocates nothing.
        macs: multiply-accumulates of one invocation.
        subgraphs: subgraphs that one invocation runs, in the order in which TFLM's planner visits
            them, from the options.
        state: what the node keeps in its own data from one invocation to the next, as it is after
            `Reset`: from what `prepare` returned and B, arrays of shape (B, ...); None where it
            keeps nothing.
        state_survives_reset: TFLM's registration has no Reset, so that only a new allocation clears
            the state.
    """

    name: str
    prepare: Callable[[PrepareContext], Any]
    eval: Callable[[EvalContext, Any], None]
    op_data: OpData | Callable[[Node, TflmBuild], Sequence[int]] | None = None
    params: str | None = None
    macs: Callable[[Node], int] = _no_macs
    subgraphs: Callable[[Mapping[str, Any]], tuple[int, ...]] = _no_subgraphs
    state: Callable[[Any, int], tuple[np.ndarray, ...]] | None = None
    state_survives_reset: bool = False
    bind: Callable[[BindContext, Any], list[Step] | None] = _bind_data

    def init_bytes(self, node: Node, build: TflmBuild) -> tuple[int, ...]:
        """Sizes of the persistent allocations in `Init`."""
        if self.op_data is None:
            return ()
        if isinstance(self.op_data, OpData):
            return (self.op_data.bytes(build),)
        return tuple(self.op_data(node, build))
