"""Identifiers, literals, and lines that are broken without changing what they say."""

import numpy as np
import pytest

from refmicro.emit import c_text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kws_mamba_int8", "kws_mamba_int8"),
        ("my model-v2.1", "my_model_v2_1"),
        ("2nd", "model_2nd"),
        ("", "model"),
        ("über", "ber"),
        ("int", "int_model"),
        ("main", "main_model"),
        ("runner", "runner_model"),
    ],
)
def test_identifiers(text, name):
    assert c_text.identifier(text) == name
    assert c_text.is_identifier(name)


@pytest.mark.parametrize("text", ["", "2nd", "a-b", "a b", "int", "_hidden", "ä", "mema", "Link"])
def test_what_is_no_identifier(text):
    assert not c_text.is_identifier(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-128, "-128"),
        (2**31 - 1, "2147483647"),
        (-(2**31), "(-2147483647 - 1)"),
        (2**31, "2147483648LL"),
        (-(2**63), "(-9223372036854775807LL - 1)"),
        (2**63, "9223372036854775808ULL"),
    ],
)
def test_integers(value, text):
    assert c_text.integer(value) == text


@pytest.mark.parametrize("value", [0.1, -3.25, 1e-40, 3.4e38, 0.0, -0.0])
def test_floats_lose_no_bit(value):
    text = c_text.real(value)
    assert text.endswith("f")
    assert np.float32(float.fromhex(text[:-1])).tobytes() == np.float32(value).tobytes()


def test_comments_cannot_be_ended_from_inside():
    assert "*/" not in c_text.comment("a */ b")
    assert c_text.comment("é\n") == "??"


def test_long_lines_are_broken():
    line = "    output[i] = " + " + ".join(f"term_{i} * {i}" for i in range(30)) + ";"
    broken = c_text.fitted(line)
    assert all(len(part) <= c_text.LINE_CHARACTERS + 4 for part in broken.split("\n"))
    assert "".join(broken.split()) == "".join(line.split())


@pytest.mark.parametrize("line", ['    "' + "x, " * 60 + '"', "#define X " + "1 + " * 60])
def test_strings_and_directives_stay(line):
    assert c_text.fitted(line) == line
