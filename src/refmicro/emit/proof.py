"""Proof of emitted C: compiled on this machine, it gives the source model's bytes.

The judge is refmicro's interpreter on the model before any transform, so that the proof covers the
transforms as well. Models with state run as whole streams from reset; vectors are random and at the
edges, from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refmicro.emit.compiler import Program, compiled
from refmicro.emit.emitter import Emitted
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.program import has_state
from refmicro.vectors import random_inputs

STEPS = 8
"""Steps of a stream where nobody says."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""


@dataclass(frozen=True)
class ByteDifference:
    """The first value that differs: stream, step, output, element, and both values."""

    row: int
    step: int
    output: int
    index: int
    want: float
    got: float


@dataclass(frozen=True)
class EmitProof:
    """What was compared.

    Attributes:
        compiler: the host's.
        sanitized: whether the program ran under sanitizers.
        vectors, steps: streams and steps of each.
        values: output values compared.
        mismatches: those that differ.
        first: the first of them.
    """

    compiler: str
    sanitized: bool
    vectors: int
    steps: int
    values: int
    mismatches: int
    first: ByteDifference | None

    @property
    def equal(self) -> bool:
        """Whether every byte is equal."""
        return self.mismatches == 0


def prove(
    emitted: Emitted,
    source: Model,
    *,
    count: int = 16,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> EmitProof:
    """Compile the emitted C and compare it with `source`.

    Args:
        emitted: the C.
        source: the model that it was made of.
        count: vectors, or streams of `STEPS` steps where the model has state.
        seed: of the vectors.
        progress: called now and then.

    Raises:
        EnvironmentMissingError: if there is no compiler.
        DifferenceError: if the C does not compile cleanly, or fails.
    """
    progress("refmicro", 0, 3)
    inputs, want, steps = expected(source, count=count, seed=seed)
    progress("compiling", 1, 3)
    with compiled(emitted.files, emitted.name) as program:
        progress("running the C", 2, 3)
        got = run_streams(program, source, inputs, count if inputs else 1, steps)
        found = _compare(want, got)
        proof = EmitProof(program.compiler, program.sanitized, count, steps, *found)
    progress("compared", 3, 3)
    return proof


def expected(
    source: Model, *, count: int, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Inputs, refmicro's outputs, both (count, steps, *shape), and the steps of a stream."""
    interpreter = Interpreter(source)
    graph = source.subgraphs[0]
    tensors = [graph.tensors[index] for index in graph.inputs]
    steps = STEPS if has_state(interpreter.program) else 1
    flat = random_inputs(tensors, count * steps, seed)
    inputs = [array.reshape(count, steps, *array.shape[1:]) for array in flat]
    want = interpreter.invoke_sequence(inputs) if inputs else _without_inputs(interpreter, steps)
    return inputs, want, steps


def run_streams(
    program: Program, model: Model, inputs: Sequence[np.ndarray], rows: int, steps: int
) -> list[np.ndarray]:
    """Outputs (rows, steps, *shape) of streams, each in a process of its own after one reset.

    Args:
        program: the compiled model.
        model: says what outputs look like.
        inputs: arrays (rows, steps, *shape).
        rows, steps: how many.
    """
    graph = model.subgraphs[0]
    tensors = [graph.tensors[index] for index in graph.outputs]
    size = sum(tensor.nbytes for tensor in tensors)
    outputs = [np.empty((rows, steps, *t.shape), t.dtype.numpy) for t in tensors]
    # What survives a reset (CALL_ONCE) must not reach the next stream: refmicro's begin anew.
    for row in range(rows):
        parts = [b"r"]
        for step in range(steps):
            parts.append(b"i")
            parts += [np.ascontiguousarray(array[row, step]).tobytes() for array in inputs]
        data = program.run(b"".join(parts))
        assert len(data) == steps * size, (len(data), steps, size)
        for step in range(steps):
            at = step * size
            for output, tensor in zip(outputs, tensors, strict=True):
                piece = np.frombuffer(data, tensor.dtype.numpy, tensor.elements, at)
                output[row, step] = piece.reshape(tensor.shape)
                at += tensor.nbytes
    return outputs


def _without_inputs(interpreter: Interpreter, steps: int) -> list[np.ndarray]:
    """Outputs (1, steps, *shape) of a model that nothing is given to."""
    results = []
    for _ in range(steps):
        interpreter.invoke()
        results.append([interpreter.get_output(i) for i in range(interpreter.output_count)])
    return [np.stack(arrays)[None] for arrays in zip(*results, strict=True)]


def _compare(
    want: Sequence[np.ndarray], got: Sequence[np.ndarray]
) -> tuple[int, int, ByteDifference | None]:
    """Values, mismatches and the first one, bytes against bytes."""
    values = mismatches = 0
    first = None
    for output, (a, b) in enumerate(zip(want, got, strict=True)):
        a = np.ascontiguousarray(a)
        values += a.size
        width = a.dtype.itemsize
        raw = [np.frombuffer(x.tobytes(), np.uint8).reshape(-1, width) for x in (a, b)]
        places = np.flatnonzero((raw[0] != raw[1]).any(axis=1))
        mismatches += len(places)
        if len(places) and first is None:
            each = a[0, 0].size
            row, rest = divmod(int(places[0]), a.shape[1] * each)
            step, index = divmod(rest, each)
            pair = (x.reshape(-1)[places[0]].item() for x in (a, b))
            first = ByteDifference(row, step, output, index, *pair)
    return values, mismatches, first
