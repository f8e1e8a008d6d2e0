"""SELECTIVE_SCAN: refmicro against the C++ registration in the real TFLM, and against its parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.fixedpoint import quantize_multiplier
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.ops._spec import Refused
from refmicro.ops.selective_scan import (
    COLUMNS,
    DRIVEN,
    MINUS_A,
    MINUS_DELTA,
    SERIAL,
    SKIP,
    SUM,
    UNIT,
    Product,
    Scan,
    Step,
    Sum,
    decay_entries,
    decode_options,
    encode_options,
    set_bytes,
)
from refmicro.program import prepare_model
from refmicro.types import DType, Tensor, TflmBuild
from refmicro.vectors import random_inputs
from tests.ops import record
from tests.ops.harness import model_of, tensor

INT8, INT16 = (-128, 127), (-32768, 32767)


def random_product(rng: np.random.Generator, limits: tuple[int, int], real: float) -> Product:
    multiplier, shift = quantize_multiplier(real * rng.uniform(0.3, 3))
    offsets = [int(v) for v in rng.integers(-128, 129, 2)]
    return Product(*offsets, multiplier, shift, int(rng.integers(-20, 20)), *limits)


def random_sum(rng: np.random.Generator) -> Sum:
    pairs = [quantize_multiplier(float(real)) for real in rng.uniform(0.05, 0.5, 2)]
    last = quantize_multiplier(float(rng.uniform(0.3, 2) * 2**-19))
    offsets = [int(v) for v in rng.integers(-128, 129, 2)]
    return Sum(*offsets, *pairs[0], *pairs[1], *last, int(rng.integers(-20, 20)), *INT8)


def random_step(rng: np.random.Generator, bits: int, fresh: bool, flags: int, size: int) -> Step:
    entries = decay_entries(bits, flags, size)
    step = _random_records(rng, bits, fresh, entries)
    if not flags & SUM:
        return step
    shifted = random_sum(rng)
    if bits == 16:
        multiplier, shift = quantize_multiplier(float(rng.uniform(0.3, 2) * 2**-12))
        shifted = shifted._replace(multiplier=multiplier, shift=shift, low=-32768, high=32767)
    return dataclasses.replace(step, shifted=shifted)


def _random_records(rng: np.random.Generator, bits: int, fresh: bool, entries: int) -> Step:
    if bits == 8:
        decay = tuple(int(v) for v in rng.integers(-128, 128, entries))
        records = {
            name: random_product(rng, INT8, 2**-7)
            for name in ("argument", "keep", "drive", "input", "skip", "gate")
        }
        return Step(
            decay=decay,
            update=random_sum(rng),
            total=random_sum(rng),
            output=random_product(rng, INT8, 2**-10),
            fresh=fresh,
            **records,
        )
    decay = tuple(int(v) for v in np.sort(rng.integers(0, 32768, entries)))
    wide = {"argument": 1, "drive": 0.01, "input": 0.02, "output": 0.005, "skip": 0.1}
    records = {name: random_product(rng, INT16, real) for name, real in wide.items()}
    records["drive"] = records["drive"]._replace(a_offset=0)
    records["output"] = records["output"]._replace(a_offset=0)
    gate = Product(0, 0, *quantize_multiplier(2.0**-22), 3, *INT8)
    return Step(
        decay=decay,
        keep=Product(),
        update=Sum(),
        total=Sum(),
        gate=gate,
        fresh=fresh,
        **records,
    )


def random_scan(
    seed: int,
    *,
    bits: int = 8,
    steps: int = 1,
    channels: int = 5,
    size: int = 4,
    flags: int = SKIP,
    gate: bool = True,
    many: bool = False,
    fresh: bool = False,
) -> Scan:
    rng = np.random.default_rng(seed)
    low, high = INT8 if bits == 8 else INT16

    def table() -> tuple[int, ...]:
        return tuple(int(v) for v in rng.integers(low, high + 1, 256))

    count = steps if many else 1
    return Scan(
        bits,
        steps,
        channels,
        size,
        int(rng.integers(-9, 9)),
        table(),
        table() if gate else (),
        flags,
        tuple(random_step(rng, bits, fresh and index == 0, flags, size) for index in range(count)),
    )


def model_of_scan(
    scan: Scan, *, state: str = "variable", shared_a: bool = False, seed: int = 0
) -> Model:
    """`state` is `variable`, `input` (and output), or `absent`."""
    rng = np.random.default_rng([seed, 7])
    steps, channels, size = scan.steps_at_once, scan.channels, scan.size

    def i8(*shape: int, data: np.ndarray | None = None) -> Tensor:
        return tensor(DType.INT8, shape, scale=0.05, zero_point=3, data=data)

    rows = 1 if shared_a else channels
    a = None
    if not scan.flags & COLUMNS:
        a = i8(rows, size, data=rng.integers(-128, 128, (rows, size)))
    d = i8(channels, data=rng.integers(-128, 128, channels)) if scan.flags & SKIP else None
    z = i8(steps, channels) if scan.gate else None
    dtype = DType.INT8 if scan.state_bits == 8 else DType.INT16
    point = 17 if scan.state_bits == 8 else 0
    shape = (channels, size)
    old = new = None
    if state != "absent":
        is_variable = state == "variable"
        old = tensor(dtype, shape, scale=0.1, zero_point=point, variable=is_variable)
        new = None if is_variable else tensor(dtype, shape, scale=0.1, zero_point=point)
    inputs = [
        i8(steps, channels),
        i8(steps, channels),
        a,
        i8(steps, size),
        i8(steps, size),
        d,
        z,
        old,
    ]
    if scan.flags & SERIAL:
        inputs.append(tensor(DType.INT32, (1,)))
    outputs = [i8(steps, channels)] + ([new] if new is not None else [])
    options = encode_options(scan)
    return model_of("SELECTIVE_SCAN", inputs, outputs, custom=True, custom_options=options)


def compare(source: Model, rows: int = 5, seed: int = 0) -> int:
    """Outputs and arena of refmicro and TFLM, rows as steps of one stream; the values compared."""
    from refmicro.bridge import oracle_run
    from refmicro.transform.selective_scan_cc import custom_op

    data = write_model(source)
    graph = parse_model(data).subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, seed)
    result = oracle_run(
        data,
        [[array[row] for array in inputs] for row in range(rows)],
        custom_ops=[custom_op()],
        resource_variables=0,
    )
    assert result.refused is None, result.refused
    interpreter = Interpreter.from_bytes(data)
    compared = 0
    for index, got in enumerate(interpreter.invoke_sequence(inputs)):
        want = np.stack([step[index] for step in result.outputs])
        assert want.tobytes() == got.tobytes()
        compared += want.size
    arena = model_arena(prepare_model(parse_model(data), TflmBuild.wheel(recording=True)))
    assert arena.used_bytes == result.arena.used_bytes
    assert arena.head_bytes == result.arena.head_bytes
    for name, measured in result.arena.categories.items():
        found = (measured.requested_bytes, measured.used_bytes, measured.count)
        assert tuple(arena.categories[name]) == found, name
    record.note(source, compared)
    return compared


# Against the registration in TFLM


@pytest.mark.oracle
@pytest.mark.parametrize("state", ["variable", "input", "absent"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("steps", [1, 3])
def test_equal_in_tflm(bits: int, steps: int, state: str) -> None:
    scan = random_scan(bits + steps, bits=bits, steps=steps)
    assert compare(model_of_scan(scan, state=state)) > 0


@pytest.mark.oracle
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "flags",
    [
        *(0, SKIP, DRIVEN, UNIT, DRIVEN | UNIT, COLUMNS, COLUMNS | SKIP),
        *(SUM, SUM | MINUS_DELTA | SKIP, SUM | MINUS_A | DRIVEN),
    ],
)
@pytest.mark.parametrize("gate", [False, True])
def test_optional_inputs(bits: int, flags: int, gate: bool) -> None:
    scan = random_scan(3, bits=bits, flags=flags, gate=gate)
    compare(model_of_scan(scan, shared_a=True))


@pytest.mark.oracle
@pytest.mark.parametrize("bits", [8, 16])
def test_own_parameters_for_each_step(bits: int) -> None:
    scan = random_scan(4, bits=bits, steps=6, many=True, fresh=True)
    compare(model_of_scan(scan, state="absent"))
    compare(model_of_scan(scan, state="variable"))


@pytest.mark.oracle
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("state", ["variable", "input", "absent"])
def test_one_step_after_another_with_its_number(bits: int, state: str) -> None:
    """Numbers come from 0 to 7 here, so that some lie beyond the last step."""
    scan = random_scan(5, bits=bits, steps=5, flags=SKIP | SERIAL, many=True, fresh=True)
    compare(model_of_scan(scan, state=state), rows=12)


def test_steps_one_by_one_are_the_steps_at_once() -> None:
    whole = random_scan(6, steps=5, many=True, fresh=True)
    serial = dataclasses.replace(whole, flags=whole.flags | SERIAL)
    at_once = Interpreter(model_of_scan(whole, state="absent"))
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-128, 128, (5, n)).astype(np.int8) for n in (5, 5, 4, 4, 5)]
    (want,) = at_once.invoke_batch([array[None] for array in arrays])
    numbers = np.arange(5, dtype=np.int32)[:, None]
    one_by_one = Interpreter(model_of_scan(serial, state="variable"))
    (got,) = one_by_one.invoke_sequence([*(array[:, None] for array in arrays), numbers])
    assert got.tobytes() == want.tobytes()


ARGUMENTS = (0, COLUMNS, SUM, SUM | MINUS_DELTA, SUM | MINUS_A)
"""What a decay may be a function of."""


@pytest.mark.oracle
@given(
    seed=st.integers(0, 2**31),
    bits=st.sampled_from([8, 16]),
    steps=st.integers(1, 4),
    channels=st.integers(1, 9),
    size=st.integers(1, 17),
    state=st.sampled_from(["variable", "input", "absent"]),
)
def test_random_parameters(
    seed: int, bits: int, steps: int, channels: int, size: int, state: str
) -> None:
    scan = random_scan(
        seed,
        bits=bits,
        steps=steps,
        channels=channels,
        size=size,
        flags=(0, SKIP, DRIVEN, UNIT)[seed >> 8 & 3] | ARGUMENTS[(seed >> 10) % len(ARGUMENTS)],
        gate=bool(seed & 2),
        many=bool(seed & 4),
        fresh=bool(seed & 8),
    )
    compare(model_of_scan(scan, state=state, shared_a=bool(seed & 16), seed=seed), rows=3)


# Memory


def test_nothing_in_the_arena_but_the_node_and_a_state() -> None:
    arena = {
        state: model_arena(
            prepare_model(
                model_of_scan(random_scan(1, channels=128, size=16), state=state),
                TflmBuild.firmware(),
            )
        )
        for state in ("variable", "absent")
    }
    assert arena["variable"].categories["persistent_buffers"].count == 2  # inputs, outputs
    assert arena["variable"].categories["variables"].used_bytes == 128 * 16
    assert arena["absent"].categories["persistent_buffers"].count == 3
    assert not arena["variable"].scratch
    (requests,) = arena["absent"].scratch.values()
    assert [item.bytes for item in requests] == [16]


# Options


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("flags", [SKIP, COLUMNS, SUM | MINUS_A])
def test_options_come_back(bits: int, flags: int) -> None:
    scan = random_scan(5, bits=bits, steps=3, many=True, fresh=True, flags=flags)
    data = encode_options(scan)
    assert decode_options(data) == scan
    assert len(data) == 32 + 2 * 256 * bits // 8 + 3 * set_bytes(bits, flags, scan.size)
    assert len(data) % 4 == 0


@pytest.mark.parametrize(
    "flags",
    [512, SKIP | UNIT, SUM | COLUMNS, MINUS_A, MINUS_DELTA, SUM | MINUS_A | MINUS_DELTA],
)
def test_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(Refused, match="flags"):
        decode_options(encode_options(dataclasses.replace(random_scan(6), flags=flags)))


@pytest.mark.parametrize("length", [0, 4, 31, 32, 200, -4])
def test_options_of_another_length_are_refused(length: int) -> None:
    data = encode_options(random_scan(6))
    with pytest.raises(Refused):
        decode_options(data[:length])


def refusal(source: Model) -> str:
    with pytest.raises((InvalidModelError, UnsupportedError)) as error:
        prepare_model(source, TflmBuild.firmware())
    return error.value.message


def changed(source: Model, slot: int, **more) -> Model:
    """The model with another tensor in one input slot."""
    graph = source.subgraphs[0]
    tensors = list(graph.tensors)
    index = graph.operators[0].inputs[slot]
    tensors[index] = dataclasses.replace(tensors[index], **more)
    graph = dataclasses.replace(graph, tensors=tuple(tensors))
    return dataclasses.replace(source, subgraphs=(graph,))


@pytest.mark.oracle
@pytest.mark.parametrize("slot", [0, 1, 3, 4, 6])
def test_wrong_sizes_are_refused_by_both(slot: int) -> None:
    from refmicro.bridge import oracle_run
    from refmicro.transform.selective_scan_cc import custom_op

    source = changed(model_of_scan(random_scan(7)), slot, shape=(1, 3))
    assert "must have" in refusal(source)
    result = oracle_run(write_model(source), [], custom_ops=[custom_op()], resource_variables=0)
    assert result.refused is not None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gate", {"shift": 31}),
        ("gate", {"high": 128}),
        ("output", {"shift": 16}),
        ("drive", {"a_offset": 1 << 24}),
        ("update", {"a_shift": 1}),
        ("total", {"b_offset": 513}),
        ("shifted", {"a_offset": 513}),
        ("shifted", {"shift": 1}),
        ("keep", {"low": 5, "high": 4}),
    ],
)
def test_a_record_that_would_overflow_is_refused(name: str, change: dict) -> None:
    scan = random_scan(8, flags=SUM if name == "shifted" else SKIP)
    record = getattr(scan.sets[0], name)._replace(**change)
    step = dataclasses.replace(scan.sets[0], **{name: record})
    assert f"inside int32: {name}" in refusal(
        model_of_scan(dataclasses.replace(scan, sets=(step,)))
    )


def test_a_state_that_nobody_would_write_is_refused() -> None:
    source = changed(model_of_scan(random_scan(9)), 7, is_variable=False)
    graph = source.subgraphs[0]
    state = graph.operators[0].inputs[7]
    graph = dataclasses.replace(graph, inputs=(*graph.inputs, state))
    assert "state" in refusal(dataclasses.replace(source, subgraphs=(graph,)))
