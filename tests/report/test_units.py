"""Sizes and counts, read and written."""

import pytest

from refmicro.errors import UsageError
from refmicro.report.units import counted, parse_quantity, show_bytes, show_count


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("17", 17),
        ("64KiB", 65536),
        ("64kib", 65536),
        (" 1.5 MiB ", 1572864),
        ("250kB", 250000),
        ("5M", 5000000),
        ("2G", 2 * 10**9),
        ("9007199254740993", 9007199254740993),
        ("0.1k", 100),
    ],
)
def test_quantities(text, value):
    assert parse_quantity(text, "it") == value


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1e5", "5 x", "1..2", "0x10", "9" * 400, "nan"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(UsageError, match="budget arena must be a number with a unit"):
        parse_quantity(text, "budget arena")


def test_bytes_are_exact_and_rounded():
    assert show_bytes(1023) == "1,023 B"
    assert show_bytes(11216) == "11,216 B (11.0 KiB)"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (7_157_888, "7.16 M"), (2 * 10**9, "2 G")],
)
def test_counts(count, text):
    assert show_count(count) == text


def test_one_is_singular() -> None:
    assert [counted(n, "value") for n in (0, 1, 2, 12345)] == [
        "0 values",
        "1 value",
        "2 values",
        "12,345 values",
    ]
