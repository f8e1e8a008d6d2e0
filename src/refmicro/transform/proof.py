"""Proof of a transform: the result behaves as its source, byte for byte, on every machine there is.

Source and result run in refmicro and in the real TFLM on random and edge inputs, each from reset
state, and as whole sequences where the source has state. All four must give the same bytes at every
output. The result's memory must be what the model of it says: TFLM places every tensor where
predicted, the smallest arena is the smallest, and the verifier finds no two live buffers in one
place, except a pair that its operator may compute in place.

A result need not have the interface of its source: an `Arrangement` says how its parts are run so
that they look like the source, for example a step model called T times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from refmicro import bridge
from refmicro.interpreter import Interpreter
from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES
from refmicro.memory.arena import model_arena
from refmicro.memory.verifier import tensor_name
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.program import default_resource_variables, has_state, prepare_model
from refmicro.transform.in_place import memory_faults
from refmicro.types import Tensor, TflmBuild
from refmicro.vectors import random_inputs

EDGE_ROWS = 4
"""The first of `random_inputs` are edges of the range."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


class Machine(Protocol):
    """Something that runs like one model with state."""

    def reset(self) -> None:
        """Go back to the state after allocation."""

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One invocation: one array an input, of the input's own shape; the outputs likewise."""


Open = Callable[[Model], Machine]
"""Gives a machine that runs one model, in refmicro or in TFLM."""

Arrangement = Callable[[Open], Machine]
"""Gives a machine with the source's interface that runs the parts of a result."""


@dataclass(frozen=True)
class Seen:
    """A source looked at through the interface of its result, where that is another one.

    Attributes:
        inputs: the tensors for which vectors are drawn.
        has_state: whether there are whole sequences to run.
        arrange: how the source runs behind that interface.
    """

    inputs: tuple[Tensor, ...]
    has_state: bool
    arrange: Arrangement

    @staticmethod
    def plainly(source: Model) -> Seen:
        """The source as it is."""
        graph = source.subgraphs[0]
        return Seen(
            tuple(graph.tensors[i] for i in graph.inputs),
            has_state(prepare_model(source, TflmBuild.wheel())),
            lambda open_model: open_model(source),
        )


class RefmicroMachine:
    """A model in the interpreter."""

    def __init__(self, model: Model) -> None:
        self._interpreter = Interpreter(model)

    def reset(self) -> None:
        """See `Machine`."""
        self._interpreter.reset()

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Machine`."""
        for index, values in enumerate(inputs):
            self._interpreter.set_input(values, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(i) for i in range(self._interpreter.output_count)]


class TflmMachine:
    """A model in the real TFLM, in the oracle's child process."""

    def __init__(
        self, model: Model, *, custom_ops: Sequence[bridge.CustomOp] = (), **options: Any
    ) -> None:
        self.oracle = bridge.IsolatedOracle(
            model_bytes(model),
            resource_variables=default_resource_variables(model),
            custom_ops=tuple(custom_ops),
            recording=False,
            **options,
        )

    def reset(self) -> None:
        """See `Machine`."""
        self.oracle.reset()

    def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Machine`."""
        for index, values in enumerate(inputs):
            self.oracle.set_input(values, index)
        self.oracle.invoke()
        return [self.oracle.get_output(i) for i in range(len(self.oracle.outputs))]


@dataclass(frozen=True)
class OutputDifference:
    """The first value that differs: between which machines, where, and both values."""

    between: str
    row: int
    output: int
    index: int
    want: float
    got: float


@dataclass(frozen=True)
class Proof:
    """The verdict on one transform.

    Attributes:
        vectors: input vectors that were run, steps of sequences included.
        values: output values that were compared, each in all machines.
        mismatches: values of the result, in TFLM, that differ from the source's in TFLM.
        largest_difference: the largest of these differences, in units of the output's type.
        tflm_equal: the result in TFLM gives the source's bytes in TFLM.
        refmicro_equal: the result in refmicro gives the source's bytes in refmicro.
        oracle_equal: refmicro gives TFLM's bytes for source and result.
        plan_obeyed: TFLM's offsets and smallest arena are those predicted, for every part.
        faults: what the arena verifier and the comparison of offsets found, in words.
        first: the first difference of any of the comparisons.
    """

    vectors: int
    values: int
    mismatches: int
    largest_difference: float
    tflm_equal: bool
    refmicro_equal: bool
    oracle_equal: bool
    plan_obeyed: bool
    faults: tuple[str, ...] = ()
    first: OutputDifference | None = None

    @property
    def sound(self) -> bool:
        """Whether refmicro and TFLM agree on the result and its memory is as predicted."""
        return self.oracle_equal and self.plan_obeyed and not self.faults

    @property
    def equal(self) -> bool:
        """Whether the result is proven equal to its source."""
        return self.sound and self.tflm_equal and self.refmicro_equal


def prove_equal(
    source: Model,
    result: Model,
    *,
    count: int = 16,
    seed: int = 0,
    custom_ops: Sequence[bridge.CustomOp] = (),
    progress: Progress = lambda what, done, total: None,
) -> Proof:
    """`prove` for a result that has its source's interface."""
    return prove(
        source,
        (result,),
        lambda open_model: open_model(result),
        count=count,
        seed=seed,
        custom_ops=custom_ops,
        progress=progress,
    )


def prove(
    source: Model,
    parts: Sequence[Model],
    arrangement: Arrangement,
    *,
    count: int = 16,
    seed: int = 0,
    custom_ops: Sequence[bridge.CustomOp] = (),
    seen: Seen | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Proof:
    """Run source and result everywhere and compare.

    Args:
        source: the model that was transformed.
        parts: the models that came of it; the memory of each is checked.
        arrangement: how the parts run as one.
        count: input vectors; a source with state runs two sequences of as many steps besides.
        seed: of the vectors.
        custom_ops: operators of ours that source or result need in TFLM.
        seen: how the source looks like the arrangement, where it does not by itself.
        progress: called after each vector.

    Raises:
        EnvironmentMissingError: if the oracle is not here.
        RefmicroError: if source or result is refused by refmicro or TFLM.
    """
    bridge.require()
    seen = seen or Seen.plainly(source)

    def open_tflm(model: Model) -> Machine:
        return TflmMachine(model, custom_ops=custom_ops)

    machines = {
        "source in TFLM": seen.arrange(open_tflm),
        "result in TFLM": arrangement(open_tflm),
        "source in refmicro": seen.arrange(RefmicroMachine),
        "result in refmicro": arrangement(RefmicroMachine),
    }
    tally = _Tally()
    for row, (fresh, inputs) in enumerate(plan := _vectors(seen, count, seed)):
        outputs = {}
        for name, machine in machines.items():
            if fresh:
                machine.reset()
            outputs[name] = machine.invoke(inputs)
        tally.add(row, outputs)
        progress("proof", row + 1, len(plan))
    del machines
    faults = [fault for part in parts for fault in memory_faults(part)]
    misplaced = [fault for part in parts for fault in placement_faults(part, custom_ops)]
    return Proof(
        vectors=len(plan),
        values=tally.values,
        mismatches=tally.mismatches,
        largest_difference=tally.largest,
        tflm_equal=tally.equal["result in TFLM", "source in TFLM"],
        refmicro_equal=tally.equal["result in refmicro", "source in refmicro"],
        oracle_equal=tally.equal["source in refmicro", "source in TFLM"]
        and tally.equal["result in refmicro", "result in TFLM"],
        plan_obeyed=not misplaced,
        faults=tuple(faults + misplaced),
        first=tally.first,
    )


def model_bytes(model: Model) -> bytes:
    """The file of a model: what it was read from, else what the writer makes of it."""
    return model.source if model.source is not None else write_model(model)


def written(model: Model) -> Model:
    """The model as a reader of its file sees it, with `source`."""
    return model if model.source is not None else parse_model(write_model(model))


def _vectors(seen: Seen, count: int, seed: int) -> list[tuple[bool, list[np.ndarray]]]:
    """(from reset state, inputs) of every invocation; two sequences where the source has state."""
    rows = []
    for sequence in range(3 if seen.has_state else 1):
        arrays = random_inputs(list(seen.inputs), count, seed + sequence)
        rows += [
            (sequence == 0 or step == 0, [array[step] for array in arrays]) for step in range(count)
        ]
    return rows


_COMPARISONS = (
    ("result in TFLM", "source in TFLM"),
    ("result in refmicro", "source in refmicro"),
    ("source in refmicro", "source in TFLM"),
    ("result in refmicro", "result in TFLM"),
)


class _Tally:
    """Compares the outputs of all machines, bytes against bytes."""

    def __init__(self) -> None:
        self.values = 0
        self.mismatches = 0
        self.largest = 0.0
        self.first: OutputDifference | None = None
        self.equal = dict.fromkeys(_COMPARISONS, True)

    def add(self, row: int, outputs: dict[str, list[np.ndarray]]) -> None:
        """The outputs of one vector, by machine."""
        self.values += sum(array.size for array in outputs["source in TFLM"])
        for pair in _COMPARISONS:
            got, want = (outputs[name] for name in pair)
            if len(got) != len(want):
                self._differ(pair, OutputDifference(_words(pair), row, -1, 0, len(want), len(got)))
                continue
            for index, arrays in enumerate(zip(want, got, strict=True)):
                self._compare(pair, row, index, *arrays)

    def _compare(
        self, pair: tuple[str, str], row: int, output: int, want: np.ndarray, got: np.ndarray
    ) -> None:
        if want.dtype != got.dtype or want.size != got.size:
            self._differ(pair, OutputDifference(_words(pair), row, output, -1, want.size, got.size))
            return
        if want.tobytes() == got.tobytes():
            return
        width = want.dtype.itemsize
        raw = [np.frombuffer(a.tobytes(), np.uint8).reshape(-1, width) for a in (want, got)]
        places = np.flatnonzero((raw[0] != raw[1]).any(axis=1))
        if pair == _COMPARISONS[0]:
            self.mismatches += len(places)
            distance = np.abs(want.astype(np.float64) - got.astype(np.float64))
            self.largest = max(self.largest, float(distance.max()))
        index = int(places[0])
        values = (want.reshape(-1)[index].item(), got.reshape(-1)[index].item())
        self._differ(pair, OutputDifference(_words(pair), row, output, index, *values))

    def _differ(self, pair: tuple[str, str], difference: OutputDifference) -> None:
        self.equal[pair] = False
        if self.first is None:
            self.first = difference


def _words(pair: tuple[str, str]) -> str:
    return f"{pair[0]} against {pair[1]}"


def placement_faults(model: Model, custom_ops: Sequence[bridge.CustomOp] = ()) -> list[str]:
    """Where TFLM's offsets and smallest arena are not those of the memory model."""
    data = model_bytes(model)
    arena = model_arena(prepare_model(model, TflmBuild.wheel()))
    resources = default_resource_variables(model)
    custom = tuple(custom_ops)
    faults = []
    with bridge.IsolatedOracle(
        data, trace=True, recording=False, resource_variables=resources, custom_ops=custom
    ) as oracle:
        measured = oracle.arena
        for place in oracle.places:
            if place.offset is None or place.offset >= measured.head_bytes:
                continue
            want = arena.tensors[place.subgraph][place.tensor].offset
            if place.offset != want:
                name = tensor_name(place.subgraph, place.tensor)
                faults.append(f"TFLM places {name} at {place.offset} instead of {want}")
    if measured.used_bytes != arena.used_bytes:
        faults.append(f"TFLM uses {measured.used_bytes} bytes instead of {arena.used_bytes}")
    suffices = functools.partial(_suffices, model, custom_ops=custom)
    if not suffices(arena.required_bytes):
        faults.append(f"TFLM needs more than the predicted {arena.required_bytes} bytes")
    if suffices(arena.required_bytes - BUFFER_ALIGNMENT_BYTES):
        faults.append(f"TFLM needs less than the predicted {arena.required_bytes} bytes")
    return faults


def _suffices(model: Model, arena_bytes: int, *, custom_ops: tuple[bridge.CustomOp, ...]) -> bool:
    """Whether TFLM allocates and invokes the model once in an arena of that size.

    The inputs are random, because some operators refuse a division by zero.
    """
    graph = model.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], EDGE_ROWS + 1, 0)
    try:
        result = bridge.oracle_run(
            model_bytes(model),
            [[array[EDGE_ROWS] for array in inputs]],
            resource_variables=default_resource_variables(model),
            arena=False,
            arena_bytes=arena_bytes,
            custom_ops=custom_ops,
        )
    except (bridge.OracleCrash, bridge.OracleOverrun):
        return False
    return result.refused is None
