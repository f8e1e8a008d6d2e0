"""The firmware's own C, as a process on this machine: verbs, damage, whole sessions."""

from __future__ import annotations

import random
import re
import zlib

import numpy as np
import pytest

from refmicro.board import session
from refmicro.board.protocol import DAMAGED, REPEATED, BoardError, Client, frame

from .conftest import FAKE_INPUT_BYTES, FAKE_OUTPUT_BYTES, ProcessLink, fake_vectors


def said(link: ProcessLink, command: bytes, *, until: bytes = b"m-ready\r\n") -> list[str]:
    """The plain lines that follow a plain command."""
    link.write(command)
    data = b""
    while not data.endswith(until):
        more = link.read(5)
        assert more, f"silent after {data!r}"
        data += more
    return data.decode().splitlines()


@pytest.fixture
def started(host_board):
    link = host_board()
    assert said(link, b"") == ["m-init-done", "m-ready"]
    return link


def test_plain_commands_as_in_mlperf_tiny(started):
    assert said(started, b"name%") == ["m-name-dut-[refmicro]", "m-ready"]
    assert said(started, b"\r\nname%")[0] == "m-name-dut-[refmicro]"
    assert re.fullmatch(r"m-lap-us-\d+", said(started, b"timestamp%")[0])
    assert said(started, b"profile%")[:2] == ["m-profile-[refmicro runner 1]", "m-model-[fake]"]
    assert said(started, b"db load 200%")[0] == "m-[Expecting 200 bytes]"
    loaded = [said(started, b"db " + b"01" * 50 + b"%") for _ in range(4)]
    assert loaded == [["m-ready"]] * 3 + [["m-load-done", "m-ready"]]
    assert said(started, b"db print%")[0] == "m-buffer" + "-01" * 8
    lines = said(started, b"infer 2 1%")
    assert lines[:3] == ["m-warmup-start-1", "m-warmup-done", "m-infer-start-2"]
    # Three invocations add up 200 ones each: 1 + 600 modulo 256.
    assert f"m-output-0-{'59' * 64}" in lines
    assert lines[-2] == f"m-crc-0-200-{zlib.crc32(bytes([0x59]) * 200):08X}"
    assert said(started, b"results%") == lines[6:]
    assert said(started, b"reset%") == ["m-reset-done", "m-ready"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"dance 3%", "e-[Unknown command: dance]"),
        (b"%", "e-[Unknown command: ]"),
        (b"db%", "e-[Command 'db' requires a subcommand]"),
        (b"db load%", "e-[Command 'db load' must be >0 bytes]"),
        (b"db load 0%", "e-[Command 'db load' must be >0 bytes]"),
        (b"db load 99999999999%", "e-[Command 'db load' must be >0 bytes]"),
        (b"db load 7%", "e-[The inputs take 200 bytes]"),
        (b"db 0%", "e-[Insufficient number of hex digits]"),
        (b"db 0G%", "e-[Invalid hex digit]"),
        (b"db 00%", "e-[More bytes than 'db load' announced]"),
        (b"infer 0%", "e-[Inference iterations must be >0]"),
        (b"infer x%", "e-[Inference iterations must be >0]"),
        (b"infer 1 -1%", "e-[Inference warmup must be >=0]"),
        (b"name\x01%", DAMAGED),
        (b"x" * 600 + b"%", DAMAGED),
        (b"7:name*00000000%", DAMAGED),
        (b"7:name%", DAMAGED),
        (b"name*%", DAMAGED),
        (b"99999999999:name*00000000%", DAMAGED),
        (frame(4, "name").replace(b"n", b"m"), DAMAGED),
        (frame(4, "name").replace(b"%", b"0%"), DAMAGED),
    ],
)
def test_what_cannot_be_done_is_refused(started, command, answer):
    assert said(started, command) == [answer, "m-ready"]
    assert said(started, b"name%")[0] == "m-name-dut-[refmicro]", "and it goes on"


def test_inputs_that_are_not_whole_are_not_run(started):
    said(started, b"db load 200%")
    said(started, b"db 01%")
    assert said(started, b"infer 1%")[0] == "e-[The inputs are not loaded whole]"


def test_a_repeated_command_does_not_run_again(started):
    client = Client(started, 5)
    session.load(client, PROFILE, bytes(199) + b"\1")
    outputs = [session.invoke(client, PROFILE, timeout_s=5)[0] for _ in range(2)]
    assert outputs[0] != outputs[1], "the model has a state"
    client.number -= 1
    assert client.command("infer 1") == [REPEATED]
    again, _ = session.invoke(client, PROFILE, timeout_s=5)
    assert again[0][0] == outputs[1][0][0] + 1


PROFILE = session.Profile("fake", "crc32-00C0FFEE", 512, FAKE_INPUT_BYTES, FAKE_OUTPUT_BYTES)


def test_a_whole_session(started):
    client = session.open_session(started)
    assert session.read_profile(client) == PROFILE
    inputs, outputs = fake_vectors(3, 4)
    steps = []
    found = session.compare(
        client, PROFILE, inputs, outputs, 4, timeout_s=5, progress=lambda *at: steps.append(at)
    )
    assert found == session.Comparison(12, 2400, 0, None, 12 * 250)
    assert steps == [(row + 1, 12) for row in range(12)]
    assert session.read_memory(client) == session.Memory(4711, 0, 0, 0)


def test_a_difference_is_found_where_it_is(started):
    inputs, outputs = fake_vectors(2, 3)
    outputs[0] = outputs[0].copy()
    outputs[0][4, 123] ^= 1
    outputs[0][5, 3] ^= 1
    client = session.open_session(started)
    found = session.compare(client, PROFILE, inputs, outputs, 3, timeout_s=5)
    want, got = outputs[0][4, 123], outputs[0][4, 123] ^ 1
    assert found.mismatches == 2
    assert found.first == session.Difference(4, 0, 123, str(want), str(got))


def test_another_model_is_refused(started):
    client = session.open_session(started)
    with pytest.raises(BoardError, match=r"inputs .* \[100, 100\], not \[100\]"):
        session.compare(client, PROFILE, [np.zeros((1, 100), np.uint8)], [], 1, timeout_s=5)


def test_garbage_does_not_upset_it(started):
    rng = random.Random(5)
    for _ in range(40):
        started.write(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 900))))
        started.read(0.01)
    client = Client(started, 77)
    client.resynchronise()
    assert client.command("name") == ["m-name-dut-[refmicro]"]


class Noisy:
    """A line that sometimes changes or loses a byte, in both directions."""

    def __init__(self, link: ProcessLink, seed: int, rate: float) -> None:
        self._link, self._random, self._rate = link, random.Random(seed), rate

    def _damaged(self, data: bytes) -> bytes:
        made = bytearray()
        for byte in data:
            chance = self._random.random()
            if chance < self._rate / 2:
                continue
            made.append(self._random.randrange(256) if chance < self._rate else byte)
        return bytes(made)

    def write(self, data: bytes) -> None:
        self._link.write(self._damaged(data))

    def read(self, timeout_s: float) -> bytes:
        # A damaged piece may be empty; that is what silence looks like, too.
        return self._damaged(self._link.read(timeout_s))


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_line_costs_time_or_fails_but_never_lies(host_board, seed):
    inputs, outputs = fake_vectors(2, 2, seed)
    client = Client(Noisy(host_board(), seed, 0.0004), 1000 * seed, timeout_s=0.3)
    try:
        found = session.compare(client, PROFILE, inputs, outputs, 2, timeout_s=0.1)
    except BoardError:
        return
    assert found.mismatches == 0


def test_some_noise_is_overcome(host_board):
    """Otherwise the test above would hold for a client that always gives up."""
    done = 0
    for seed in range(4):
        inputs, outputs = fake_vectors(1, 2, seed)
        client = Client(Noisy(host_board(), seed, 0.0002), 1000 * seed, timeout_s=0.3)
        try:
            found = session.compare(client, PROFILE, inputs, outputs, 2, timeout_s=0.1)
        except BoardError:
            continue
        done += found.mismatches == 0
    assert done >= 2
