"""Operators that are damaged on purpose: whatever a file holds, Prepare answers or refuses.

`mutated` changes one thing of a one-operator model as a file could hold it, so what the reader
itself would refuse is not made: tensor indices stay in range and constants long enough.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import struct
import sys
import traceback
from collections.abc import Iterator

from refmicro import _jit
from refmicro.errors import InvalidModelError, UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.model import _schema
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import MAX_TENSOR_BYTES, read_model
from refmicro.ops import registry
from refmicro.program import prepare_model
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor, TflmBuild
from tests.models import ALL

REFUSALS = (InvalidModelError, UnsupportedError, UsageError)

TYPES = [dtype for dtype in DType if dtype.itemsize_bytes is not None]

SCALES = [0.0, 1e-45, 1e-30, 0.00390625, 0.5, 1.0, 3.0, 1e30, 3.4028234663852886e38]

ZERO_POINTS = [0, 1, -128, 127, 128, -32768, 65535, -(2**31), 2**31 - 1]

SIZES = [0, 1, 2, 3, 7, 16, 1000, 2**15, 2**30]

MAX_CONSTANT_BYTES = 1 << 18
"""Constants are no longer than a small file could hold; other tensors may claim anything."""

RUN_BYTES = 4096
"""Kernels in plain Python are slow: larger models are only prepared."""


def isolated(model: Model, subgraph: int, index: int) -> Model:
    """The operator alone in subgraph 0, with every other subgraph as it was."""
    graph = model.subgraphs[subgraph]
    op = graph.operators[index]
    used = [i for i in (*op.inputs, *op.outputs, *op.intermediates) if i >= 0]
    order = {old: new for new, old in enumerate(dict.fromkeys(used))}

    def renamed(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(order.get(i, -1) for i in indices)

    alone = dataclasses.replace(
        op,
        inputs=renamed(op.inputs),
        outputs=renamed(op.outputs),
        intermediates=renamed(op.intermediates),
    )
    tensors = tuple(graph.tensors[old] for old in order)
    main = with_inputs(Subgraph(tensors, (), (), (alone,)))
    return Model((main, *model.subgraphs[1:]))


def with_inputs(graph: Subgraph) -> Subgraph:
    """Every tensor that the operators read and nobody writes becomes an input of the graph."""
    written: set[int] = set()
    needed: dict[int, None] = {}
    for op in graph.operators:
        for i in op.inputs:
            tensor = graph.tensors[i]
            if i >= 0 and i not in written and not tensor.is_constant and not tensor.is_variable:
                needed[i] = None
        written.update(op.outputs)
    outputs = tuple(dict.fromkeys(i for op in graph.operators for i in op.outputs))
    return dataclasses.replace(graph, inputs=tuple(needed), outputs=outputs)


def variants(model: Model, count: int, seed: int) -> Iterator[Model]:
    """`count` models that differ from a one-operator model in one to four things."""
    rng = random.Random(seed)
    for _ in range(count):
        graph = model.subgraphs[0]
        op, tensors = graph.operators[0], list(graph.tensors)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            op, tensors = mutated(op, tensors, rng)
        main = with_inputs(Subgraph(tuple(tensors), (), (), (op,)))
        yield dataclasses.replace(model, subgraphs=(main, *model.subgraphs[1:]))


def mutated(
    op: Operator, tensors: list[Tensor], rng: random.Random
) -> tuple[Operator, list[Tensor]]:
    """The operator and its tensors with one change."""
    choice = rng.random()
    if tensors and choice < 0.6:
        index = rng.randrange(len(tensors))
        changed = list(tensors)
        changed[index] = _tensor(tensors[index], rng)
        return op, changed
    if choice < 0.75:
        return _lists(op, tensors, rng)
    return _options(op, rng), tensors


def _tensor(tensor: Tensor, rng: random.Random) -> Tensor:
    what = rng.choice(["type", "shape", "shape", "scale", "points", "constant", "variable"])
    if what == "type":
        tensor = dataclasses.replace(tensor, dtype=rng.choice(TYPES))
    elif what == "shape":
        tensor = dataclasses.replace(tensor, shape=_shape(tensor, rng), has_shape=True)
    elif what == "scale":
        tensor = dataclasses.replace(tensor, quantization=_quantization(tensor, rng))
    elif what == "points" and tensor.quantization.zero_point:
        points = tuple(rng.choice(ZERO_POINTS) for _ in tensor.quantization.zero_point)
        quantization = dataclasses.replace(tensor.quantization, zero_point=points)
        tensor = dataclasses.replace(tensor, quantization=quantization)
    elif what == "variable":
        tensor = dataclasses.replace(tensor, is_variable=not tensor.is_variable)
    elif what == "constant":
        data = None if tensor.is_constant or _need(tensor) > MAX_CONSTANT_BYTES else b"\0"
        tensor = dataclasses.replace(tensor, data=data)
        if data is not None:
            values = [rng.choice([0, 1, -1, 2, 5, -7, 127, -128, 2**31 - 1, -(2**31)])]
            return dataclasses.replace(tensor, data=_data(tensor, values))
    if tensor.is_constant:
        tensor = dataclasses.replace(tensor, data=_resized(bytes(tensor.data), _need(tensor)))
    return tensor


def _shape(tensor: Tensor, rng: random.Random) -> tuple[int, ...]:
    sizes = list(tensor.shape)
    what = rng.choice(["size", "size", "drop", "add", "scalar", "legacy", "swap"])
    if what == "size" and sizes:
        sizes[rng.randrange(len(sizes))] = rng.choice(SIZES)
    elif what == "drop" and sizes:
        del sizes[rng.randrange(len(sizes))]
    elif what == "add":
        sizes.insert(rng.randint(0, len(sizes)), rng.choice(SIZES))
    elif what == "scalar":
        sizes = []
    elif what == "legacy":
        sizes = [0]
    elif what == "swap":
        rng.shuffle(sizes)
    limit = MAX_CONSTANT_BYTES if tensor.is_constant else MAX_TENSOR_BYTES
    nbytes = math.prod(size or 1 for size in sizes) * 16
    return tuple(sizes) if nbytes <= limit else tensor.shape


def _quantization(tensor: Tensor, rng: random.Random) -> Quantization:
    if rng.random() < 0.2:
        return NO_QUANTIZATION
    count = rng.choice([0, 1, 1, 2, 5, *tensor.shape[:1], *tensor.shape[-1:]])
    count = min(count, 64)
    points = rng.choice([1, count]) if count else 0
    return Quantization(
        tuple(struct.unpack("<f", struct.pack("<f", rng.choice(SCALES)))[0] for _ in range(count)),
        tuple(rng.choice(ZERO_POINTS) for _ in range(points)),
        rng.choice([0, 0, 1, 3, -1, -5, 99]),
    )


def _need(tensor: Tensor) -> int:
    if tensor.dtype is DType.INT4:
        return (tensor.elements + 1) // 2
    return tensor.nbytes


def _resized(data: bytes, size: int) -> bytes | None:
    """At least `size` bytes; as a file has no empty constants, none where that is zero."""
    if size == 0:
        return None
    return (data * (size // max(1, len(data)) + 1))[:size] if data else bytes(size)


def _data(tensor: Tensor, values: list[int]) -> bytes | None:
    width = tensor.dtype.itemsize_bytes or 1
    one = b"".join((value % 2 ** (8 * width)).to_bytes(width, "little") for value in values)
    return _resized(one, _need(tensor))


def _lists(
    op: Operator, tensors: list[Tensor], rng: random.Random
) -> tuple[Operator, list[Tensor]]:
    """Other numbers of inputs and outputs, absent inputs, the same tensor twice."""
    which = rng.choice(["inputs", "inputs", "outputs", "intermediates"])
    indices = list(getattr(op, which))
    low = 0 if which == "outputs" else -1
    what = rng.choice(["drop", "add", "replace", "clear", "new"])
    if what == "drop" and indices:
        del indices[rng.randrange(len(indices))]
    elif what == "add" and tensors:
        indices.insert(rng.randint(0, len(indices)), rng.randrange(low, len(tensors)))
    elif what == "replace" and indices and tensors:
        indices[rng.randrange(len(indices))] = rng.randrange(low, len(tensors))
    elif what == "clear":
        indices = []
    elif what == "new" and tensors:
        tensors = [*tensors, _tensor(rng.choice(tensors), rng)]
        indices.append(len(tensors) - 1)
    if which == "outputs":
        indices = [i for i in indices if not tensors[i].is_constant]
    return dataclasses.replace(op, **{which: tuple(indices)}), tensors


def _options(op: Operator, rng: random.Random) -> Operator:
    if op.code.builtin == "CUSTOM":
        raw = bytearray(op.custom_options)
        what = rng.choice(["flip", "flip", "flip", "cut", "empty", "junk"])
        if what == "flip" and raw:
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        elif what == "cut":
            raw = raw[: rng.randint(0, len(raw))]
        elif what == "junk":
            raw = bytearray(rng.randbytes(rng.choice([1, 3, 16])))
        else:
            raw = bytearray()
        return dataclasses.replace(op, custom_options=bytes(raw))
    if rng.random() < 0.15 or not op.options_type:
        names = sorted(_schema.enum_codes("BuiltinOptions"))
        name = rng.choice(["NONE", "NONE", *names])
        if name == "NONE":
            return dataclasses.replace(op, options={}, options_type="")
        fields = _schema.fields(name).values()
        defaults = {field.name: () if field.is_vector else field.default for field in fields}
        return dataclasses.replace(op, options=defaults, options_type=name)
    fields = list(_schema.fields(op.options_type).values())
    if not fields:
        return op
    field = rng.choice(fields)
    return dataclasses.replace(op, options={**op.options, field.name: _value(field, rng)})


def _value(field: _schema.Field, rng: random.Random) -> object:
    """A value of an options field as a file may hold it."""
    if field.kind == "text":
        return rng.choice([None, "", "a", "x" * 100])
    code = field.number.format[-1]

    def number() -> object:
        if code == "?":
            return rng.random() < 0.5
        if code == "f":
            return rng.choice([0.0, -1.0, 1e30, -1e30, math.inf, -math.inf, math.nan, 1e-45, 0.5])
        bits = 8 * field.number.size
        low = 0 if code.isupper() else -(2 ** (bits - 1))
        high = low + 2**bits - 1
        return rng.choice([0, 1, 2, 3, 5, 100, max(low, -1), max(low, -3), low, high])

    if field.kind == "numbers":
        return tuple(number() for _ in range(rng.choice([0, 1, 2, 4, 9])))
    return number()


def plain(name: str) -> Model:
    """An operator that has next to nothing: one int8 input, one int8 output, default options."""
    tensors = tuple(
        Tensor(str(i), DType.INT8, (1, 4, 4, 2), Quantization((0.5,), (0,))) for i in range(2)
    )
    by_name = {table.removesuffix("Options").lower(): table for table in _tables()}
    builtin = name in _schema.enum_codes("BuiltinOperator")
    table = by_name.get(name.replace("_", "").lower(), "") if builtin else ""
    fields = _schema.fields(table).values() if table else ()
    options = {field.name: () if field.is_vector else field.default for field in fields}
    code = OperatorCode(name) if builtin else OperatorCode("CUSTOM", name)
    op = Operator(code, (0,), (1,), options, table)
    return Model((with_inputs(Subgraph(tensors, (), (), (op,))),))


def _tables() -> list[str]:
    return [name for enum in _schema.OPTIONS_UNIONS.values() for name in _schema.enum_codes(enum)]


@functools.cache
def seeds(name: str, most: int = 6) -> tuple[Model, ...]:
    """Sound models of one operator to start from: `plain`, and some out of the real models."""
    return (plain(name), *_real().get(name, [])[:most])


@functools.cache
def _real() -> dict[str, list[Model]]:
    """Operators of the real models by name, one for each combination of types."""
    found: dict[tuple, Model] = {}
    for path in ALL.values():
        model = read_model(path)
        for number, graph in enumerate(model.subgraphs):
            for index, op in enumerate(graph.operators):
                kinds = tuple(graph.tensors[i].dtype for i in op.inputs if i >= 0)
                if (op.name, kinds, len(op.outputs)) not in found:
                    found[op.name, kinds, len(op.outputs)] = isolated(model, number, index)
    by_name: dict[str, list[Model]] = {}
    for (name, *_), model in found.items():
        by_name.setdefault(name, []).append(model)
    return by_name


def answer(model: Model, *, run: bool = True) -> str:
    """Prepare a model in both builds, and run it on zeros; "ran" or the name of the refusal."""
    try:
        prepare_model(model, TflmBuild())
        prepare_model(model, TflmBuild.wheel())
        if run:
            interpreter = Interpreter(model)
            interpreter.invoke()
    except REFUSALS as error:
        if not error.message.isprintable():
            raise AssertionError(f"not printable: {error.message!r}") from error
        return type(error).__name__
    return "ran" if run else "prepared"


def main(count: int) -> int:
    """Prepare and run variants of every operator, in plain Python; 1 if an exception escapes."""
    assert _jit.mode() == "off", "run with REFMICRO_JIT=off: each variant would be compiled"
    failures = 0
    for name in registry.names():
        for number, seed in enumerate(seeds(name, most=2)):
            for index, model in enumerate(variants(seed, count, number)):
                nbytes = sum(tensor.nbytes for tensor in model.subgraphs[0].tensors)
                try:
                    answer(model, run=nbytes < RUN_BYTES and name != "WHILE")
                except Exception:
                    failures += 1
                    where = f"{name}, seed {number}, variant {index}"
                    sys.stdout.write(f"{where}: {traceback.format_exc(limit=-2)}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
