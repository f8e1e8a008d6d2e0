"""Damaged files: cut, flipped, with offsets that lead anywhere. Refused with a sentence, or run."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from tests.model.bombs import Assembler
from tests.model.hostile import (
    judge,
    offset_positions,
    patched,
    patched_vector,
)
from tests.models import ALL

SMALL = "s_elu_head_int8"
"""One FULLY_CONNECTED, 1808 bytes."""


@functools.cache
def bytes_of(name: str) -> bytes:
    return ALL[name].read_bytes()


def test_small_model_is_sound() -> None:
    assert judge(bytes_of(SMALL)) == "ran"


@pytest.mark.parametrize("name", [SMALL, "simple_add_model"])
def test_cut_at_every_length(name: str) -> None:
    data = bytes_of(name)
    verdicts = {judge(data[:length]) for length in range(len(data))}
    assert "InvalidModelError" in verdicts


@pytest.mark.parametrize("name", sorted(ALL))
def test_cut_at_some_lengths(name: str) -> None:
    data = bytes_of(name)
    step = max(1, len(data) // 40)
    for length in range(0, len(data), step):
        assert judge(data[:length]) != "prepared"


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_byte_flipped(mask: int) -> None:
    data = bytearray(bytes_of(SMALL))
    verdicts = set()
    for index in range(len(data)):
        data[index] ^= mask
        verdicts.add(judge(bytes(data)))
        data[index] ^= mask
    assert verdicts >= {"ran", "InvalidModelError", "UnsupportedError"}


@pytest.mark.parametrize("value", [0, 0xFF])
def test_every_word_overwritten(value: int) -> None:
    data = bytes_of(SMALL)
    for index in range(0, len(data), 4):
        judge(data[:index] + bytes([value] * 4) + data[index + 4 :])


@pytest.mark.parametrize("name", [SMALL, "s_elu_scan_int8"])
def test_every_offset_leads_elsewhere(name: str) -> None:
    data = bytes_of(name)
    targets = [0, 1, 4, len(data), len(data) - 4, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1]
    positions = sorted(set(offset_positions(data)))
    assert len(positions) > 80
    for position in positions[:: 1 if name == SMALL else 7]:
        for target in targets:
            value = (target % 2**32).to_bytes(4, "little")
            judge(data[:position] + value + data[position + 4 :])


@given(
    name=st.sampled_from([SMALL, "simple_add_model", "hello_world_int8", "p_rmsnorm_int8"]),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=6,
    ),
    cut=st.floats(0.5, 1),
)
def test_random_damage(name: str, edits: list[tuple[float, bytes]], cut: float) -> None:
    data = bytearray(bytes_of(name))
    for where, raw in edits:
        start = 8 + int(where * (len(data) - 8))
        data[start : start + len(raw)] = raw
    judge(bytes(data[: int(len(data) * cut)]))


@given(
    name=st.sampled_from([SMALL, "g_elu_while_int8", "trained_lstm_int8"]),
    where=st.floats(0, 1, exclude_max=True),
    size=st.integers(1, 64),
    insert=st.booleans(),
)
def test_bytes_inserted_or_removed(name: str, where: float, size: int, insert: bool) -> None:
    data = bytes_of(name)
    start = 8 + int(where * (len(data) - 8))
    middle = data[:size] if insert else b""
    judge(data[:start] + middle + data[start + (0 if insert else size) :])


@given(st.binary(max_size=200))
def test_random_bytes(tail: bytes) -> None:
    for head in (b"", b"\x08\0\0\0TFL3", b"\x10\0\0\0TFL3"):
        assert judge(head + tail) != "ran"


def refused(data: bytes, error: type[Exception], *words: str) -> None:
    """The file is refused while it is read, with these words in the message."""
    with pytest.raises(error) as caught:
        parse_model(data)
    for word in words:
        assert word in caught.value.message, caught.value.message
    judge(data)


TENSOR = ("subgraphs", 0, "tensors", 0)
OPERATOR = ("subgraphs", 0, "operators", 0)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL"])
def test_not_a_model(data: bytes) -> None:
    refused(data, InvalidModelError, "identifier TFL3")


def test_root_outside_the_file() -> None:
    data = bytes_of(SMALL)
    refused(b"\xff\xff\xff\xff" + data[4:], InvalidModelError, "root table", "inside the file")


def test_vtable_outside_the_file() -> None:
    data = bytes_of(SMALL)
    root = int.from_bytes(data[:4], "little")
    for soffset in (2**31 - 1, -(2**31), root + 1, -len(data)):
        raw = (soffset % 2**32).to_bytes(4, "little")
        refused(data[:root] + raw + data[root + 4 :], InvalidModelError, "vtable of Model")


def test_no_subgraph() -> None:
    data = patched_vector(bytes_of(SMALL), ("subgraphs",), -1, 0)
    refused(data, InvalidModelError, "at least one subgraph")


def test_absurd_vector_length() -> None:
    for key in ("tensors", "operators", "inputs", "name"):
        data = patched_vector(bytes_of(SMALL), ("subgraphs", 0, key), -1, 2**32 - 1)
        refused(data, InvalidModelError, "subgraph 0", key, "must end inside the file")


def test_dimensions() -> None:
    data = bytes_of(SMALL)
    for value in (-1, -(2**31)):
        bad = patched_vector(data, (*TENSOR, "shape"), 0, value)
        refused(bad, InvalidModelError, "subgraph 0, tensor 0", "negative", str(value))
    bad = patched_vector(data, (*TENSOR, "shape"), 0, 2**31 - 1)
    refused(bad, InvalidModelError, "below 2^31 bytes", "2147483647")


def test_zero_does_not_hide_a_huge_dimension() -> None:
    data = patched_vector(bytes_of(SMALL), (*TENSOR, "shape"), 0, 0)
    data = patched_vector(data, (*TENSOR, "shape"), 1, 2**31 - 1)
    assert judge(data) == "UnsupportedError"


def test_tensor_type() -> None:
    data = patched(bytes_of(SMALL), (*TENSOR, "type"), 99)
    refused(data, InvalidModelError, "subgraph 0, tensor 0", "type", "99")


def test_buffer_index() -> None:
    data = patched(bytes_of(SMALL), (*TENSOR, "buffer"), 2**32 - 1)
    refused(data, InvalidModelError, "subgraph 0, tensor 0", "buffer", str(2**32 - 1))


def test_constant_too_short() -> None:
    model = parse_model(bytes_of(SMALL))
    index = next(i for i, t in enumerate(model.subgraphs[0].tensors) if t.is_constant)
    path = ("subgraphs", 0, "tensors", index, "shape")
    data = patched_vector(bytes_of(SMALL), path, 0, 2**20)
    refused(data, InvalidModelError, f"tensor {index}", "must hold", "found")


def test_operator_code_index() -> None:
    path = ("subgraphs", 0, "operators", 1, "opcode_index")
    data = patched(bytes_of("s_elu_back_int8"), path, 1000)
    refused(data, InvalidModelError, "subgraph 0, operator 1", "operator code", "1000")


def test_operator_code_unknown() -> None:
    for number in (210, 2**31 - 1):
        data = patched(bytes_of(SMALL), ("operator_codes", 0, "builtin_code"), number)
        refused(data, InvalidModelError, "operator code 0", str(number))


def test_custom_code_missing() -> None:
    data = patched(bytes_of(SMALL), ("operator_codes", 0, "builtin_code"), 32)
    data = patched(data, ("operator_codes", 0, "deprecated_builtin_code"), 32)
    refused(data, InvalidModelError, "CUSTOM", "found none")


@pytest.mark.parametrize("key", ["inputs", "outputs"])
@pytest.mark.parametrize("value", [-2, 10**6, 2**31 - 1, -(2**31)])
def test_tensor_indices(key: str, value: int) -> None:
    data = patched_vector(bytes_of(SMALL), (*OPERATOR, key), 0, value)
    refused(data, InvalidModelError, "operator 0 (FULLY_CONNECTED)", key, f"index {value}")
    data = patched_vector(bytes_of(SMALL), ("subgraphs", 0, key), 0, value)
    refused(data, InvalidModelError, "subgraph 0", key, f"index {value}")


def test_absent_output() -> None:
    data = patched_vector(bytes_of(SMALL), (*OPERATOR, "outputs"), 0, -1)
    refused(data, InvalidModelError, "outputs", "index -1")


def test_zero_point_of_64_bits() -> None:
    data = patched_vector(bytes_of(SMALL), (*TENSOR, "quantization", "zero_point"), 0, 2**40)
    refused(data, InvalidModelError, "zero point", str(2**40))


def test_options_table_unknown() -> None:
    data = patched(bytes_of(SMALL), (*OPERATOR, "builtin_options_type"), 255)
    refused(data, InvalidModelError, "operator 0 (FULLY_CONNECTED)", "options", "255")


def test_metadata_points_nowhere() -> None:
    data = patched(bytes_of("simple_add_model"), ("metadata", 0, "buffer"), 12345)
    refused(data, InvalidModelError, "metadata", "12345")


def test_messages_carry_no_control_characters() -> None:
    data = bytes_of("audio_preprocessor_int8")
    model = parse_model(data)
    code = next(op.code for graph in model.subgraphs for op in graph.operators if op.code.custom)
    evil = b"\x1b[31m\n\x07\0\x9b".ljust(len(code.custom), b"\n")[: len(code.custom)]
    bad = data.replace(code.custom.encode(), evil)
    assert bad != data
    assert judge(bad) == "UnsupportedError"


def test_compressed_constants() -> None:
    model = parse_model(bytes_of(SMALL)).with_metadata("COMPRESSION_METADATA", b"1234")
    refused(write_model(model), UnsupportedError, "compressed", "COMPRESSION_METADATA")


def one_buffer(data: bool, shape: tuple[int, ...] = (4,), **fields: int) -> bytes:
    """A file of one tensor with one buffer, whose fields may say anything."""
    make = Assembler()
    if data:
        fields["data"] = make.builder.CreateByteVector(b"abcd")
    buffers = [make.table("Buffer", **fields)]
    tensor = make.table("Tensor", shape=make.numbers(list(shape)), type=9)
    graph = make.table("SubGraph", tensors=make.tables([tensor]), outputs=make.numbers([0]))
    return make.finish([graph], buffers=buffers)


def test_buffer_inside_the_file() -> None:
    assert judge(one_buffer(True)) == "ran"
    assert judge(one_buffer(True, offset=1, size=1)) == "ran"


@pytest.mark.parametrize("fields", [{"offset": 2}, {"size": 2}, {"offset": 2**63, "size": 2**63}])
def test_buffer_outside_the_flatbuffer(fields: dict[str, int]) -> None:
    refused(one_buffer(False, **fields), UnsupportedError, "outside the flatbuffer", "buffer 0")
    refused(one_buffer(True, **fields), UnsupportedError, "outside the flatbuffer", "buffer 0")


def test_tensor_without_buffers() -> None:
    data = patched_vector(one_buffer(True), ("buffers",), -1, 0)
    refused(data, InvalidModelError, "one of 0 buffers")


def test_scalar_takes_its_bytes() -> None:
    assert judge(one_buffer(True, shape=())) == "ran"
    refused(one_buffer(True, shape=(5,)), InvalidModelError, "must hold 5 bytes", "found 4")


def test_sparse_tensor() -> None:
    make = Assembler()
    sparse = make.table("SparsityParameters")
    tensor = make.table("Tensor", shape=make.numbers([1]), sparsity=sparse)
    data = make.finish([make.table("SubGraph", tensors=make.tables([tensor]))])
    refused(data, UnsupportedError, "subgraph 0, tensor 0", "sparse")
