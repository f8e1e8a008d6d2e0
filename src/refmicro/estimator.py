"""What TFLM will do with a model, counted without running anything.

The figures are exact for the build that is asked for: the arena comes from a model of TFLM's
allocator (`refmicro.memory`), operations and memory accesses from each operator's own formula.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refmicro import __version__
from refmicro._collector import paused
from refmicro.errors import UsageError
from refmicro.memory.arena import Arena, model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import PreparedNode, Program, prepare_model
from refmicro.trip_count import while_trip_count
from refmicro.types import TFLM_REVISION, TFLM_WHEEL, Abi, TflmBuild

KERNELS = ("reference", "cmsis-nn")


@dataclass(frozen=True)
class Report:
    """The contract's JSON of `estimate` as a value: every field is an attribute and a key.

    What is read is a copy, yours to change; the report stays as it is.
    """

    _document: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return copy.deepcopy(self._document[key])

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the report has no field '{key}'") from None

    def to_dict(self) -> dict[str, Any]:
        """The whole document; a deep copy, yours to change."""
        return copy.deepcopy(self._document)

    def __repr__(self) -> str:
        arena, path = self._document["arena"], self._document["model"]["path"]
        return (
            f"<refmicro report of {path or 'a model'} ({self._document['abi']}): "
            f"{arena['required_bytes']:,} B of arena, {self._document['macs']:,} MACs>"
        )

    def _repr_html_(self) -> str:
        """For notebooks."""
        from refmicro.report.estimate_html import fragment

        return fragment(self._document)


def estimate(
    model: str | Path | Model,
    *,
    abi: str = "ilp32",
    kernels: str = "reference",
    resource_variables: int | None = None,
    recording: bool = False,
) -> Report:
    """Count a model's arena, flash, operations and memory accesses.

    Args:
        model: path of a `.tflite` file, or a model.
        abi: `ilp32`, a Cortex-M firmware, or `lp64`, the pinned wheel's build.
        kernels: `reference` or `cmsis-nn` (ilp32 only).
        resource_variables: capacity of `MicroResourceVariables`; by default 16 where the model uses
            them, else none is created.
        recording: add what TFLM's recording allocator takes itself.

    Raises:
        UsageError: wrong argument, or the file cannot be read.
        InvalidModelError: no valid model.
        UnsupportedError: TFLM refuses operators of the model, all of them listed.
    """
    build = build_of(abi, kernels, recording)
    path = "" if isinstance(model, Model) else str(model)
    if not isinstance(model, Model):
        model = read_model(model)
    if resource_variables is not None and not 0 <= resource_variables <= 1 << 16:
        raise UsageError(f"resource variables must be 0 to 65536: {resource_variables}")
    with paused():
        program = prepare_model(model, build, resource_variables=resource_variables)
        return Report(_document(path, model, program, model_arena(program)))


def build_of(abi: str, kernels: str, recording: bool) -> TflmBuild:
    """The TFLM build that the command line's words name.

    Raises:
        UsageError: for unknown words, or kernels that the wheel does not have.
    """
    if abi not in {item.value for item in Abi}:
        raise UsageError(f"the ABI must be ilp32 or lp64: {abi}")
    if kernels not in KERNELS:
        raise UsageError(f"kernels must be one of {', '.join(KERNELS)}: {kernels}")
    if abi == "lp64":
        if kernels != "reference":
            raise UsageError(f"lp64 is the wheel's build, which has reference kernels: {kernels}")
        return TflmBuild.wheel(recording=recording)
    return TflmBuild.firmware(kernels=kernels, recording=recording)


def _document(path: str, model: Model, program: Program, arena: Arena) -> dict[str, Any]:
    executions = _executions(model)
    constants = {id(t.data): len(t.data) for g in model.subgraphs for t in g.tensors if t.data}
    live = _live_by_operator(arena)
    operators = [
        _operator(node, executions[node.subgraph], live.get((node.subgraph, node.index), 0))
        for nodes in program.nodes
        for node in nodes
    ]
    return {
        "schema_version": 1,
        "refmicro": __version__,
        "model": {
            "path": path,
            "sha256": model.sha256,
            "bytes": len(model.source or b""),
            "subgraphs": len(model.subgraphs),
            "operators": model.operator_count,
        },
        "tflm": {"wheel": TFLM_WHEEL, "revision": TFLM_REVISION},
        "abi": program.build.abi.value,
        "kernels": program.build.kernels,
        "recording": program.build.recording,
        "resource_variables": program.max_resource_variables,
        "arena": _arena(arena),
        "flash": {
            "model_bytes": len(model.source or b""),
            "constant_bytes": sum(constants.values()),
        },
        "macs": _total(operators, "macs"),
        "read_bytes": _total(operators, "read_bytes"),
        "written_bytes": _total(operators, "written_bytes"),
        "peak": _peak(arena, program),
        "operators": operators,
        "tensors": _tensor_rows(model, arena),
    }


def _arena(arena: Arena) -> dict[str, Any]:
    return {
        "used_bytes": arena.used_bytes,
        "required_bytes": arena.required_bytes,
        "head_bytes": arena.head_bytes,
        "tail_bytes": arena.tail_bytes,
        "lower_bound_bytes": arena.lower_bound_bytes,
        "required_by": {
            "phase": arena.decisive.phase,
            "bytes": arena.decisive.bytes,
            "subgraph": arena.decisive.subgraph,
            "operator": arena.decisive.operator,
        },
        "categories": {
            name: {
                "requested_bytes": item.requested_bytes,
                "used_bytes": item.used_bytes,
                "count": item.count,
            }
            for name, item in arena.categories.items()
        },
    }


def _executions(model: Model) -> list[int | None]:
    """How often each subgraph runs in one invocation; None where it depends on data.

    Both branches of an IF count once, so that a total is never too low; CALL_ONCE runs in the first
    invocation only and counts there.
    """
    counts: list[int | None] = [0] * len(model.subgraphs)

    def visit(index: int, times: int | None) -> None:
        if not 0 <= index < len(counts):
            return
        known = counts[index]
        counts[index] = None if known is None or times is None else known + times
        graph = model.subgraphs[index]
        for op in graph.operators:
            if op.name == "WHILE":
                trips = while_trip_count(model, graph, op)
                inside = None if trips is None or times is None else trips * times
                checks = None if inside is None else inside + times
                visit(op.options.get("cond_subgraph_index", -1), checks)
                visit(op.options.get("body_subgraph_index", -1), inside)
            elif op.name == "IF":
                visit(op.options.get("then_subgraph_index", -1), times)
                visit(op.options.get("else_subgraph_index", -1), times)
            elif op.name == "CALL_ONCE":
                visit(op.options.get("init_subgraph_index", -1), times)

    visit(0, 1)
    return counts


def _operator(node: PreparedNode, executions: int | None, live_bytes: int) -> dict[str, Any]:
    """One row; counts are of one evaluation, `executions` says how many there are."""
    tensors = [tensor for tensor in node.node.inputs if tensor is not None]
    return {
        "subgraph": node.subgraph,
        "index": node.index,
        "name": node.name,
        "executions": executions,
        "macs": node.spec.macs(node.node),
        "read_bytes": sum(tensor.nbytes for tensor in tensors),
        "constant_bytes": sum(len(tensor.data) for tensor in tensors if tensor.data is not None),
        "written_bytes": sum(tensor.nbytes for tensor in node.node.outputs),
        "live_bytes": live_bytes,
        "scratch_bytes": sum(node.scratch_bytes),
        "persistent_bytes": sum(node.init_bytes) + sum(node.persistent_bytes),
    }


def _total(operators: list[dict[str, Any]], key: str) -> int:
    """The sum over one invocation; a loop whose trip count is unknown counts one trip."""
    return sum(
        row[key] * (1 if row["executions"] is None else row["executions"]) for row in operators
    )


def _peak(arena: Arena, program: Program) -> dict[str, Any]:
    """The step during which most bytes live, and the buffers that make it."""
    step = arena.live_peak
    graph, operator = arena.timeline[step]
    tensors = [
        {
            "subgraph": number,
            "index": index,
            "name": program.model.subgraphs[number].tensors[index].name,
            "bytes": arena.tensors[number][index].bytes,
        }
        for number, index in arena.live_tensors(step)
    ]
    scratch = sum(
        buffer.bytes
        for buffers in arena.scratch.values()
        for buffer in buffers
        if buffer.first_time_used <= step <= buffer.last_time_used
    )
    return {
        "subgraph": graph,
        "operator": operator,
        "name": None if operator is None else program.nodes[graph][operator].name,
        "live_bytes": arena.live_bytes[step],
        "scratch_bytes": scratch,
        "tensors": tensors,
    }


def _live_by_operator(arena: Arena) -> dict[tuple[int, int | None], int]:
    """Most bytes live at the operator's own step, in any of its runs."""
    live: dict[tuple[int, int | None], int] = {}
    for step, nbytes in zip(arena.timeline, arena.live_bytes, strict=True):
        live[step] = max(nbytes, live.get(step, 0))
    return live


def _tensor_rows(model: Model, arena: Arena) -> list[dict[str, Any]]:
    return [
        {
            "subgraph": number,
            "index": index,
            "name": tensor.name,
            "type": str(tensor.dtype),
            "shape": list(tensor.shape),
            "bytes": tensor.nbytes,
            "constant": tensor.is_constant,
            "variable": tensor.is_variable,
            "offset": planned.offset,
            "first_time_used": None if planned.offset is None else planned.first_time_used,
            "last_time_used": None if planned.offset is None else planned.last_time_used,
        }
        for number, graph in enumerate(model.subgraphs)
        for index, (tensor, planned) in enumerate(
            zip(graph.tensors, arena.tensors[number], strict=True)
        )
    ]
