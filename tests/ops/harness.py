"""Single-operator models for tests, and the comparison of refmicro with the real TFLM on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor
from tests.ops import malformed, record

DAMAGED_VARIANTS = 4
"""Every model that is compared is also damaged in so many ways and prepared: see `malformed`."""


def tensor(
    dtype: DType,
    shape: Sequence[int],
    *,
    scale: float | Sequence[float] = (),
    zero_point: int | Sequence[int] = 0,
    axis: int = 0,
    data: np.ndarray | None = None,
    variable: bool = False,
    name: str = "",
) -> Tensor:
    """A tensor; without `scale` it is not quantized. `data` makes it a constant.

    Scales are rounded to float32, as a file stores them. INT4 data is given as int8 values.
    """
    scales = (scale,) if isinstance(scale, (int, float)) else tuple(scale)
    points = (zero_point,) if isinstance(zero_point, int) else tuple(zero_point)
    quantization = NO_QUANTIZATION
    if scales:
        quantization = Quantization(tuple(float(np.float32(s)) for s in scales), points, axis)
    raw = None
    if data is not None:
        values = np.asarray(data, dtype.numpy, order="C")
        assert values.shape == tuple(shape), (values.shape, shape)
        raw = _pack_int4(values) if dtype is DType.INT4 else values.tobytes()
    return Tensor(name, dtype, tuple(shape), quantization, raw, variable)


def _pack_int4(values: np.ndarray) -> bytes:
    flat = values.reshape(-1).astype(np.uint8) & 0xF
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return (flat[0::2] | (flat[1::2] << 4)).tobytes()


def model_of(
    name: str,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    options: dict | None = None,
    *,
    options_type: str = "",
    custom_options: bytes = b"",
    intermediates: Sequence[Tensor] = (),
    version: int = 1,
    custom: bool = False,
) -> Model:
    """A model of one operator; every input that is no constant and no variable is a model input.

    `options_type` is by default the schema's table for the operator, `FULLY_CONNECTED` to
    `FullyConnectedOptions`; give it where the names differ (`Conv2DOptions`, `Pool2DOptions`, ...).
    A tensor given twice (the same object) is one tensor of the graph.
    """
    tensors: list[Tensor] = []

    def index_of(item: Tensor | None) -> int:
        if item is None:
            return -1
        for number, known in enumerate(tensors):
            if known is item:
                return number
        tensors.append(item)
        return len(tensors) - 1

    input_indices = tuple(index_of(item) for item in inputs)
    output_indices = tuple(index_of(item) for item in outputs)
    intermediate_indices = tuple(index_of(item) for item in intermediates)
    free = dict.fromkeys(
        i
        for i in input_indices
        if i >= 0 and not tensors[i].is_constant and not tensors[i].is_variable
    )
    if not options_type and options is not None:
        options_type = "".join(part.capitalize() for part in name.split("_")) + "Options"
    code = OperatorCode("CUSTOM", name, version) if custom else OperatorCode(name, "", version)
    op = Operator(
        code,
        input_indices,
        output_indices,
        options or {},
        options_type,
        custom_options,
        intermediate_indices,
    )
    graph = Subgraph(tuple(tensors), tuple(free), tuple(dict.fromkeys(output_indices)), (op,))
    return Model((graph,), description="one operator")


def random_values(item: Tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    """`rows` arrays for a tensor, weighted towards the ends of its range, first row the lowest."""
    shape = (rows, *item.shape)
    dtype = item.dtype.numpy
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind == "f":
        values = rng.normal(0, 4, shape).astype(dtype)
        return np.where(rng.random(shape) < 0.05, np.float32(0), values)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**31)), min(limits.max, 2**31 - 1)
    values = rng.integers(low, high, shape, dtype=np.int64, endpoint=True)
    edges = rng.choice(np.array([low, low + 1, -1, 0, 1, high - 1, high]), shape)
    values = np.where(rng.random(shape) < 0.2, edges, values)
    values[0] = low
    if rows > 1:
        values[1] = high
    return values.clip(low, high).astype(dtype)


def compare(
    model: Model,
    inputs: Sequence[np.ndarray] | None = None,
    *,
    rows: int = 4,
    seed: int = 0,
    steps: bool = False,
    expect: str | None = None,
) -> int:
    """Assert that refmicro and TFLM agree on a model; returns the number of values compared.

    Args:
        model: written to bytes and read back, so that the file is what is judged.
        inputs: one array an input with a leading row axis; random by default.
        rows, seed: size and seed of random inputs.
        steps: rows are successive steps of one stream instead of rows from reset state.
        expect: `"run"` or `"refuse"` where the test wants to be sure which of both happens.
    """
    from refmicro.bridge import oracle_run

    data = write_model(model)
    graph = parse_model(data).subgraphs[0]
    if inputs is None:
        rng = np.random.default_rng(seed)
        inputs = [random_values(graph.tensors[i], rows, rng) for i in graph.inputs]
    count = inputs[0].shape[0] if inputs else 1
    for damaged in malformed.variants(model, DAMAGED_VARIANTS, seed):
        malformed.answer(damaged, run=False)
    try:
        interpreter = Interpreter.from_bytes(data)
    except (UnsupportedError, InvalidModelError) as error:
        refusal = error
        interpreter = None
    result = oracle_run(
        data, [[array[row] for array in inputs] for row in range(count)], reset_between=not steps
    )
    if interpreter is None:
        assert expect != "run", f"refmicro refuses: {refusal}"
        assert result.refused is not None, f"TFLM runs what refmicro refuses: {refusal}"
        record.note(model, 0, refusal.message)
        return 0
    assert result.refused is None, f"refmicro runs what TFLM refuses: {result.refused}"
    assert expect != "refuse", "both run what should be refused"
    got = interpreter.invoke_sequence(inputs) if steps else interpreter.invoke_batch(inputs)
    compared = 0
    for index, mine in enumerate(got):
        want = np.stack([step[index] for step in result.outputs])
        assert mine.dtype == want.dtype, (index, mine.dtype, want.dtype)
        _assert_same_bits(index, mine, want)
        compared += want.size
    _compare_single(interpreter, inputs, got, steps)
    if not steps:
        _compare_bound(interpreter, inputs, got)
    _compare_arena(data, result.arena)
    record.note(model, compared)
    return compared


def _assert_same_bits(index: int, mine: np.ndarray, want: np.ndarray) -> None:
    if mine.tobytes() == want.tobytes():
        return
    bits = {"f": {2: np.uint16, 4: np.uint32, 8: np.uint64}}.get(mine.dtype.kind, {})
    raw = bits.get(mine.dtype.itemsize, mine.dtype)
    differ = np.argwhere(mine.view(raw) != want.view(raw))
    where = tuple(differ[0])
    raise AssertionError(
        f"output {index} differs in {len(differ)} of {mine.size} values, first at {where}: "
        f"TFLM {want[where]!r}, refmicro {mine[where]!r}"
    )


def _compare_single(
    interpreter: Interpreter, inputs: Sequence[np.ndarray], batch: list[np.ndarray], steps: bool
) -> None:
    """A single vector takes other code paths than a batch; both must give the same bits."""
    interpreter.reset()
    for row in range(inputs[0].shape[0] if inputs else 1):
        if not steps:
            interpreter.reset()
        for index, array in enumerate(inputs):
            interpreter.set_input(array[row], index)
        interpreter.invoke()
        for index, values in enumerate(batch):
            _assert_same_bits(index, interpreter.get_output(index), values[row])


def _compare_bound(
    interpreter: Interpreter, inputs: Sequence[np.ndarray], batch: list[np.ndarray]
) -> None:
    """From the third run on, a graph is bound to its memory; that must change no bit either."""
    for _ in range(2):
        for index, values in enumerate(interpreter.invoke_batch(inputs)):
            _assert_same_bits(index, values, batch[index])


def _compare_arena(data: bytes, measured) -> None:
    """The arena of the wheel's build, total and by category, as the recording allocator counts."""
    from refmicro.memory.arena import model_arena
    from refmicro.program import prepare_model
    from refmicro.types import TflmBuild

    program = prepare_model(
        parse_model(data), TflmBuild.wheel(recording=True), resource_variables=16
    )
    predicted = model_arena(program)
    for name, want in measured.categories.items():
        got = predicted.categories[name]
        same = tuple(got) == (want.requested_bytes, want.used_bytes, want.count)
        assert same, f"arena category {name}: TFLM {want}, refmicro {got}"
    assert predicted.head_bytes == measured.head_bytes
    assert predicted.used_bytes == measured.used_bytes
    _compare_smallest_arena(data)


_sized: set[tuple] = set()

_MORE_THAN_NEEDED = {"EMBEDDING_LOOKUP": 32, "TFLM_DECODE": 48}
"""Bytes by which the smallest arena is told too large where it is largest in this Prepare: TFLM
lets a block grow over bytes of a temporary that nobody reads again."""


def _compare_smallest_arena(data: bytes) -> None:
    """The smallest arena that TFLM runs in, with plain kernels; one model for each operator, its
    types and which of them are quantized is tried: the arithmetic of one is that of all."""
    from refmicro import bridge
    from refmicro.memory.arena import model_arena
    from refmicro.program import prepare_model
    from refmicro.types import TflmBuild

    model = parse_model(data)
    graph = model.subgraphs[0]
    kind = (
        tuple(op.name for op in graph.operators),
        tuple((t.dtype, t.quantization.is_affine) for t in graph.tensors),
    )
    if kind in _sized:
        return
    _sized.add(kind)
    need = model_arena(
        prepare_model(model, TflmBuild.wheel(), resource_variables=16)
    ).required_bytes
    settings = {"resource_variables": 16}
    if not bridge.arena_suffices(data, need + 4096, **settings):
        return  # The inputs are zeros, with which not every model runs: a division, an index.
    assert bridge.arena_suffices(data, need, **settings), f"{need} bytes are not enough"
    slack = max(_MORE_THAN_NEEDED.get(op.name, 0) for op in graph.operators)
    less = bridge.arena_suffices(data, need - slack - 16, **settings)
    assert not less, f"less than {need - slack} bytes are enough"
