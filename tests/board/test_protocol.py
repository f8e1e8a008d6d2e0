"""The line protocol: nothing damaged is ever taken for an answer, and nothing hangs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.board import session
from refmicro.board.protocol import (
    ATTEMPTS,
    REPEATED,
    BoardError,
    Client,
    Kind,
    frame,
    parse_line,
)

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%*:"))
NUMBER = st.integers(0, 2**32 - 1)


def line(number: int, text: str) -> bytes:
    """What a board answers."""
    body = f"{number}:{text}".encode()
    return b"%s*%08X\r\n" % (body, zlib.crc32(body))


class Scripted:
    """A board whose every answer is a function of the command; time passes only by waiting."""

    def __init__(self, answer: Callable[[int, bytes], bytes]) -> None:
        self.answer = answer
        self.sent: list[bytes] = []
        self.now = 0.0
        self._pending = b""

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        self._pending += self.answer(len(self.sent) - 1, data)

    def read(self, timeout_s: float) -> bytes:
        self.now += 0.001
        if not self._pending:
            self.now += timeout_s
            return b""
        data, self._pending = self._pending[:97], self._pending[97:]
        return data

    def client(self, number: int = 7) -> Client:
        return Client(self, number, clock=lambda: self.now)

    @property
    def commands(self) -> list[bytes]:
        """What was sent, without the single bytes that end a damaged command."""
        return [data for data in self.sent if data != b"%"]


@given(NUMBER, TEXT)
def test_an_answer_is_understood(number, text):
    found = parse_line(line(number, text), number)
    assert (found.kind, found.text) == (Kind.OURS, text)
    assert parse_line(line(number, text), number ^ 1).kind is Kind.STALE


@given(NUMBER, TEXT, st.data())
def test_no_damaged_byte_passes(number, text, data):
    raw = bytearray(line(number, text))
    at = data.draw(st.integers(0, len(raw) - 3))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert parse_line(bytes(raw), number).kind is not Kind.OURS


@given(NUMBER, TEXT, st.data())
def test_no_cut_line_passes(number, text, data):
    raw = line(number, text)
    cut = raw[: data.draw(st.integers(0, len(raw) - 3))]
    assert parse_line(cut, number).kind in (Kind.PLAIN, Kind.WRONG_CRC)


@given(st.binary(max_size=300))
def test_garbage_is_no_answer(raw):
    assert parse_line(raw, 7).kind is not Kind.OURS


def test_a_frame_is_as_the_document_says():
    assert frame(17, "infer 1") == b"17:infer 1*%08X%%" % zlib.crc32(b"17:infer 1")


def test_the_examples_in_the_document_are_right():
    text = (Path(__file__).parents[2] / "docs" / "board-protocol.md").read_text()
    examples = re.findall(r"`(17:[^`*]*)\*([0-9A-F]{8})%?`", text)
    assert len(examples) == 3
    for body, crc in examples:
        assert f"{zlib.crc32(body.encode()):08X}" == crc


def test_lines_before_the_answer_and_old_answers_are_skipped():
    board = Scripted(
        lambda turn, data: (
            b"m-init-done\r\nm-ready\r\n"
            + line(6, "m-old")
            + line(6, "m-ready")
            + line(7, "m-name-dut-[x]")
            + line(7, "m-ready")
        )
    )
    assert board.client().command("name") == ["m-name-dut-[x]"]


def test_a_silent_board_is_given_up():
    board = Scripted(lambda turn, data: b"")
    with pytest.raises(BoardError, match="does not answer `name`") as error:
        board.client().command("name")
    assert error.value.exit_code == 5
    assert "reset" in error.value.hint
    assert len(board.commands) == ATTEMPTS
    assert len(set(board.commands)) == 1, "the same number each time, so that none runs twice"
    assert board.now < 60


def test_endless_garbage_is_given_up():
    class Endless(Scripted):
        def read(self, timeout_s: float) -> bytes:
            self.now += 0.001
            return b"\xf5garbage\n" * 10

    board = Endless(lambda turn, data: b"")
    with pytest.raises(BoardError, match="not of this protocol") as error:
        board.client().command("name")
    assert "--baud" in error.value.hint
    assert board.now < 60


def test_a_line_without_end_is_given_up():
    board = Scripted(lambda turn, data: b"x" * 20000 if data != b"%" else b"")
    with pytest.raises(BoardError, match="not of this protocol"):
        board.client().command("name")


def test_wrong_crcs_are_given_up():
    def answer(turn: int, data: bytes) -> bytes:
        return line(7, "m-name").replace(b"*", b"*0", 1)[:-3] + b"\r\n" + line(7, "m-ready")

    board = Scripted(answer)
    with pytest.raises(BoardError, match="wrong CRC") as error:
        board.client().command("name")
    assert "cable" in error.value.hint


def test_damaged_commands_are_given_up():
    board = Scripted(lambda turn, data: b"e-[Damaged command]\r\nm-ready\r\n")
    with pytest.raises(BoardError, match="damages commands"):
        board.client().command("name")


def test_an_answer_cut_short_is_given_up():
    board = Scripted(lambda turn, data: line(7, "m-infer-done") + b"7:m-rea")
    with pytest.raises(BoardError, match="not complete"):
        board.client().command("infer 1")


def test_one_bad_answer_is_asked_for_again():
    def answer(turn: int, data: bytes) -> bytes:
        if turn == 0:
            return line(7, "m-infer-done")[:-6] + b"\r\n"
        return line(7, REPEATED) + line(7, "m-ready") if data != b"%" else b""

    board = Scripted(answer)
    assert board.client().command("infer 1") == [REPEATED]
    assert len(board.commands) == 2


def test_a_refusal_is_passed_on():
    board = Scripted(lambda turn, data: line(7, "e-[Invoke failed: status 1]") + line(7, "m-ready"))
    with pytest.raises(BoardError, match=r"refuses `infer`: \[Invoke failed: status 1\]"):
        board.client().command("infer 1")


@given(st.lists(st.binary(max_size=400), max_size=12))
def test_whatever_a_board_sends_is_an_answer_or_an_error(pieces):
    board = Scripted(lambda turn, data: pieces[turn % len(pieces)] if pieces else b"")
    with pytest.raises(BoardError):
        board.client().command("name")
    assert board.now < 60


@given(st.binary(max_size=30), st.integers(0, 60), st.booleans())
def test_garbage_within_an_answer_never_changes_it(garbage, at, once):
    """Either the lines arrive as they were sent, or there is an error."""
    whole = line(7, "m-a-1") + line(7, "m-b-2") + line(7, "m-ready")

    def answer(turn: int, data: bytes) -> bytes:
        if data == b"%":
            return b""
        return whole[:at] + garbage + whole[at:] if turn == 0 or not once else whole

    board = Scripted(answer)
    try:
        lines = board.client().command("name")
    except BoardError:
        return
    assert set(lines) <= {"m-a-1", "m-b-2"}


PROFILE = session.Profile("fake", "crc32-0", 512, (2,), (3, 1))
RESULTS = [
    "m-infer-done",
    "m-output-0-0102",
    "m-output-0-03",
    f"m-crc-0-3-{zlib.crc32(bytes([1, 2, 3])):08X}",
    "m-output-1-FF",
    f"m-crc-1-1-{zlib.crc32(bytes([255])):08X}",
]


def invoked(lines_by_turn: list[list[str]]) -> tuple[list[bytes], int]:
    """`session.invoke` on a board that answers these lines, the last ones again and again."""
    turns = iter(range(1 << 30))

    def answer(turn: int, data: bytes) -> bytes:
        said = lines_by_turn[min(next(turns), len(lines_by_turn) - 1)]
        number = int(data.split(b":")[0])
        return b"".join(line(number, text) for text in [*said, "m-ready"])

    return session.invoke(Scripted(answer).client(), PROFILE, timeout_s=1.0)


def test_outputs_come_with_their_crc():
    assert invoked([RESULTS]) == ([b"\1\2\3", b"\xff"], 0)


@pytest.mark.parametrize("lost", range(1, len(RESULTS)))
def test_a_lost_line_is_asked_for_again(lost):
    short = [text for number, text in enumerate(RESULTS) if number != lost]
    assert invoked([short, RESULTS])[0] == [b"\1\2\3", b"\xff"]
    with pytest.raises(BoardError, match="outputs arrive damaged"):
        invoked([short])


def test_repeated_results_are_asked_for_again():
    assert invoked([[REPEATED], RESULTS])[0] == [b"\1\2\3", b"\xff"]


def test_the_boards_time_wraps():
    laps = ["m-lap-us-4294967290", "m-lap-us-14", *RESULTS]
    assert invoked([laps])[1] == 20


@pytest.mark.parametrize(
    ("want", "have", "differ"),
    [
        (np.float32([0.0, np.nan]), np.float32([-0.0, np.nan]), [True, False]),
        (np.int16([1, 256, -1]), np.int16([1, 1, -1]), [False, True, False]),
    ],
)
def test_values_are_compared_bit_by_bit(want, have, differ):
    assert session._different(want, have).tolist() == differ
