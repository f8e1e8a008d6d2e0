"""refmicro against the real TFLM on one model: every tensor byte, the arena, every offset.

Neither side sees the other's arithmetic: the oracle is TFLM itself in a process of its own.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro import bridge
from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import Arena, model_arena
from refmicro.model.graph import OFFLINE_PLAN_METADATA, Model
from refmicro.program import (
    Program,
    default_resource_variables,
    has_state,
    prepare_model,
)
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.types import TflmBuild
from refmicro.vectors import random_inputs

FILLS = (0x00, 0xA5)
"""Bytes that outputs are filled with to find what TFLM never writes."""

FILL_VECTORS = 2
"""Vectors that are enough to find it: what an operator leaves out hangs on its shape."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


@dataclass(frozen=True)
class Difference:
    """The first value that differs: where, at which flat index, TFLM's and refmicro's value."""

    subgraph: int
    operator: int
    name: str
    tensor: int
    index: int
    want: float
    got: float


@dataclass(frozen=True)
class Refusal:
    """Why each side refuses the model; None where it does not."""

    refmicro: str | None
    tflm: str | None


@dataclass(frozen=True)
class ArenaCheck:
    """Predicted and measured memory of the wheel's build, as plain dictionaries of equal keys."""

    equal: bool
    predicted: dict[str, Any]
    measured: dict[str, Any]


@dataclass(frozen=True)
class ModelCheck:
    """The verdict on one model; `arena` is None where it was refused.

    `undefined` counts values that were left out because TFLM never writes them: what is read there
    is what the arena held.
    """

    path: str
    sha256: str
    equal: bool
    values: int = 0
    mismatches: int = 0
    tensors: int = 0
    undefined: int = 0
    first: Difference | None = None
    refused: Refusal | None = None
    arena: ArenaCheck | None = None

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON of one model."""
        return dataclasses.asdict(self)


def check_model(
    model: Model,
    path: str,
    *,
    count: int = 16,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> ModelCheck:
    """Compare refmicro with TFLM on `count` vectors.

    Every vector runs from reset state; where the model has state the vectors run once more as
    successive steps of one stream. Outputs are compared for single and for batched invocation,
    every intermediate tensor for single invocation.

    Raises:
        EnvironmentMissingError: if the oracle is not here.
    """
    bridge.require()
    assert model.source is not None, "a model that was read from a file"
    try:
        interpreter = Interpreter(model)
        mine = None
    except (UnsupportedError, InvalidModelError) as error:
        mine = error.message
    resources = default_resource_variables(model)
    options = {"resource_variables": resources, "custom_ops": custom_ops_of(model)}
    theirs = _oracle_refusal(model.source, options)
    if mine or theirs:
        return ModelCheck(
            path, model.sha256, bool(mine) == bool(theirs), refused=Refusal(mine, theirs)
        )
    graph = model.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], count, seed)
    rows = [[array[row] for array in inputs] for row in range(min(count, FILL_VECTORS))]
    tally = _Tally(interpreter.program, _unwritten(model, options, rows))
    passes = (False, True) if has_state(interpreter.program) else (False,)
    total = count * len(passes)
    with bridge.IsolatedOracle(model.source, trace=True, recording=True, **options) as oracle:
        done = 0
        for stream in passes:
            for _ in _compare_rows(interpreter, oracle, inputs, count, tally, stream):
                done += 1
                progress("vectors", done, total)
        arena = _check_arena(model, oracle, options)
    equal = not tally.mismatches and arena.equal
    return ModelCheck(
        path,
        model.sha256,
        equal,
        tally.values,
        tally.mismatches,
        len(tally.tensors),
        tally.undefined,
        tally.first,
        None,
        arena,
    )


def _oracle_refusal(data: bytes, options: dict[str, Any]) -> str | None:
    """TFLM's own words where it cannot load or run the model once."""
    try:
        with bridge.IsolatedOracle(data, **options) as oracle:
            for index, info in enumerate(oracle.inputs):
                oracle.set_input(np.zeros(info.shape, info.dtype), index)
            oracle.invoke()
    except bridge.OracleError as error:
        return error.message
    return None


Masks = dict[tuple[int, int], np.ndarray]
"""By subgraph and tensor: True for each element that TFLM never writes."""


def _unwritten(
    model: Model, options: dict[str, Any], rows: Sequence[Sequence[np.ndarray]]
) -> Masks:
    """Elements that depend on what lay in their place before TFLM computed the tensor.

    TFLM runs twice with outputs filled beforehand, each time with another byte; an element on which
    the two runs disagree has no value, and neither has what is computed from it. An offline plan
    may put state into an output's place (CIRCULAR_BUFFER keeps its frames there), which must not
    be filled; such models have no exceptions.
    """
    if model.metadata_value(OFFLINE_PLAN_METADATA) is not None:
        return {}
    data = model.source
    traces = []
    for fill in FILLS:
        with bridge.IsolatedOracle(data, trace=True, output_fill=fill, **options) as oracle:
            trace = []
            for row in rows:
                for index, values in enumerate(row):
                    oracle.set_input(values, index)
                oracle.invoke()
                trace += oracle.trace
            traces.append(trace)
    masks: Masks = {}
    for one, other in zip(*traces, strict=True):
        for left, right in zip(one.outputs, other.outputs, strict=True):
            if left.after == right.after or left.after is None or right.after is None:
                continue
            raw = (-1, left.dtype.itemsize)
            pair = [np.frombuffer(slot.after, np.uint8).reshape(raw) for slot in (left, right)]
            key = (one.subgraph, left.tensor)
            differ = (pair[0] != pair[1]).any(axis=1)
            masks[key] = masks.get(key, False) | differ
    return masks


class _Tally:
    """Counts what was compared and keeps the first difference."""

    def __init__(self, program: Program, unwritten: Masks) -> None:
        self.program = program
        self.unwritten = unwritten
        self.undefined = 0
        self.values = 0
        self.mismatches = 0
        self.tensors: set[tuple[int, int]] = set()
        self.first: Difference | None = None

    def add(
        self, subgraph: int, operator: int, tensor: int, want: np.ndarray, got: np.ndarray
    ) -> None:
        """Compare the bytes of one tensor."""
        self.tensors.add((subgraph, tensor))
        mask = self.unwritten.get((subgraph, tensor))
        if mask is not None and want.shape == got.shape:
            self.undefined += int(mask.sum())
            # Where TFLM wrote nothing, nothing can be wrong.
            got = np.where(mask.reshape(want.shape), want, got)
        self.values += want.size - (0 if mask is None else int(mask.sum()))
        if want.shape == got.shape and want.dtype == got.dtype and _bytes(want) == _bytes(got):
            return
        if want.shape != got.shape or want.dtype != got.dtype:
            differ = np.arange(max(want.size, 1))
        else:
            raw = (want.size, want.dtype.itemsize)
            pair = [np.frombuffer(_bytes(a), np.uint8).reshape(raw) for a in (want, got)]
            differ = np.flatnonzero((pair[0] != pair[1]).any(axis=1))
        self.mismatches += len(differ)
        if self.first is None:
            index = int(differ[0])
            nodes = self.program.nodes[subgraph]
            name = nodes[operator].name if operator >= 0 else "output"
            self.first = Difference(
                subgraph, operator, name, tensor, index, _number(want, index), _number(got, index)
            )


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _number(array: np.ndarray, index: int) -> float:
    return array.reshape(-1)[index].item() if index < array.size else float("nan")


def _compare_rows(
    interpreter: Interpreter,
    oracle: bridge.IsolatedOracle,
    inputs: Sequence[np.ndarray],
    count: int,
    tally: _Tally,
    stream: bool,
) -> Iterator[int]:
    """Single vectors with all tensors first, then the batch; yields after each row."""
    outputs: list[list[np.ndarray]] = []
    interpreter.reset()
    oracle.reset()
    for row in range(count):
        if not stream:
            interpreter.reset()
            oracle.reset()
        outputs.append(_compare_row(interpreter, oracle, [a[row] for a in inputs], tally))
        yield row
    together = interpreter.invoke_sequence if stream else interpreter.invoke_batch
    graph = interpreter.program.model.subgraphs[0]
    for index, batch in enumerate(together(inputs)):
        for row in range(count):
            tally.add(0, -1, graph.outputs[index], outputs[row][index], batch[row])


def _compare_row(
    interpreter: Interpreter,
    oracle: bridge.IsolatedOracle,
    row: Sequence[np.ndarray],
    tally: _Tally,
) -> list[np.ndarray]:
    """One invocation of both, compared operator by operator; TFLM's outputs."""
    mine: dict[tuple[int, int], list[dict[int, np.ndarray]]] = defaultdict(list)

    def trace(subgraph: int, operator: int, written: dict[int, np.ndarray]) -> None:
        mine[subgraph, operator].append(written)

    for index, values in enumerate(row):
        interpreter.set_input(values, index)
        oracle.set_input(values, index)
    interpreter.invoke(trace)
    oracle.invoke()
    seen: dict[tuple[int, int], int] = defaultdict(int)
    for record in oracle.trace:
        key = (record.subgraph, record.operator)
        written = mine[key][seen[key]] if seen[key] < len(mine[key]) else {}
        seen[key] += 1
        for slot in (*record.inputs, *record.outputs):
            is_output = any(slot is item for item in record.outputs)
            if slot.after is None or not (is_output or slot.tensor in written):
                continue
            got = written.get(slot.tensor)
            got = np.empty(0, slot.dtype) if got is None else got[0]
            tally.add(*key, slot.tensor, slot.array(), got)
    results = [oracle.get_output(i) for i in range(len(oracle.outputs))]
    graph = interpreter.program.model.subgraphs[0]
    for index, want in enumerate(results):
        tally.add(0, -1, graph.outputs[index], want, interpreter.get_output(index))
    return results


def _check_arena(
    model: Model, oracle: bridge.IsolatedOracle, options: dict[str, Any]
) -> ArenaCheck:
    """The wheel's build: recorded categories and offsets, and the smallest arena of a plain one."""
    resources = options["resource_variables"]
    recording = _arena(model, resources, recording=True)
    required = _arena(model, resources, recording=False).required_bytes
    measured = oracle.arena
    planned = {
        f"{place.subgraph}:{place.tensor}": place.offset
        for place in oracle.places
        if place.offset is not None and place.offset < measured.head_bytes
    }
    offsets = {
        name: tensor.offset
        for graph, tensors in enumerate(recording.tensors)
        for index, tensor in enumerate(tensors)
        if tensor.offset is not None and (name := f"{graph}:{index}") in planned
    }
    enough = bridge.arena_suffices(model.source, required, **options)
    less = bridge.arena_suffices(model.source, required - 16, **options)
    predicted = _figures(recording, recording.categories)
    predicted |= {"offsets": offsets, "required_bytes": required}
    actual = _figures(measured, measured.categories)
    actual["offsets"] = planned
    actual["required_bytes"] = required
    if not enough or less:
        actual["required_bytes"] = bridge.smallest_arena(model.source, **options)
    return ArenaCheck(predicted == actual, predicted, actual)


def _arena(model: Model, resources: int, *, recording: bool) -> Arena:
    build = TflmBuild.wheel(recording=recording)
    return model_arena(prepare_model(model, build, resource_variables=resources))


def _figures(arena: Any, categories: Any) -> dict[str, Any]:
    """The figures that prediction and measurement have in common."""
    return {
        "used_bytes": arena.used_bytes,
        "head_bytes": arena.head_bytes,
        "tail_bytes": arena.tail_bytes,
        "categories": {
            name: {
                "requested_bytes": item.requested_bytes,
                "used_bytes": item.used_bytes,
                "count": item.count,
            }
            for name, item in categories.items()
        },
    }
