"""The reader of custom operators' options, against the writer of the flatbuffers package."""

import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from refmicro.ops._flexbuffer import read_map

KEYS = st.text("abcdefgh_T", min_size=1, max_size=12)
NUMBERS = st.one_of(st.integers(-(2**31), 2**31 - 1), st.booleans())


def packed(options):
    """The bytes that a converter writes."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in options.items():
            builder.Key(key)
            builder.Add(value)
    return bytes(builder.Finish())


@given(st.dictionaries(KEYS, NUMBERS, min_size=1, max_size=9))
def test_by_key_and_by_position(options):
    found = read_map(packed(options))
    for position, key in enumerate(sorted(options)):
        assert found.get(key) == options[key]
        assert found.int_at(position) == int(options[key])
        assert found.bool_at(position) == bool(options[key])


@given(st.dictionaries(KEYS, st.floats(width=32, allow_nan=False), min_size=1, max_size=4))
def test_floats(options):
    found = read_map(packed(options))
    assert {key: found.get(key) for key in options} == options


def test_whole_numbers():
    found = read_map(packed({"a": 2.75, "b": -1.5, "c": 2**31 - 1, "d": True, "n": float("inf")}))
    assert [found.whole(key, 9) for key in "abcde"] == [2, -1, 2**31 - 1, 1, 9]
    with pytest.raises(ValueError, match="n is inf"):
        found.whole("n")


def test_what_is_no_number():
    found = read_map(packed({"text": "abc", "a": 1}))
    assert found.get("text") is None
    assert found.get("b") is None


def test_indirect_numbers():
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("f")
        builder.IndirectFloat(2.5)
        builder.Key("i")
        builder.IndirectInt(-70000)
        builder.Key("u")
        builder.IndirectUInt(3_000_000_000)
    found = read_map(bytes(builder.Finish()))
    assert [found.get(key) for key in "fiu"] == [2.5, -70000, 3_000_000_000]


def test_plain_vector_by_position():
    found = read_map(bytes(flexbuffers.Dumps([5, -6])))
    assert (found.int_at(0), found.int_at(1), found.keys) == (5, -6, ())


def test_position_must_be_there():
    with pytest.raises(ValueError, match="2 options, number 2"):
        read_map(packed({"a": 1, "b": 2})).int_at(2)


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(flexbuffers.Dumps(5)), b"\xff" * 9])
def test_no_map(data):
    with pytest.raises(ValueError, match="options"):
        read_map(data)


@given(st.dictionaries(KEYS, NUMBERS, min_size=1, max_size=4), st.data())
def test_damage_is_a_value_error(options, data):
    raw = bytearray(packed(options))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_map(bytes(raw[data.draw(st.integers(0, 2)) :]))
        for key in options:
            found.get(key)
            found.int_at(0)
    except ValueError:
        pass


def test_keys_must_be_sorted():
    """TFLM looks them up by halves."""
    data = packed({"abc": 1, "xyz": 2})
    with pytest.raises(ValueError, match="sorted"):
        read_map(data.replace(b"abc", b"zzz"))
