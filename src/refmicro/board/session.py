"""Talks to a board that runs `firmware/common/runner.c`, and compares its bytes with expected ones.

The board judges nothing: it returns bytes and their CRC-32, the host compares.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .protocol import ATTEMPTS, REPEATED, BoardError, Client, Link

PROFILE = "refmicro runner 1"
_HEX_OVERHEAD_CHARS = 48
_BYTES_PER_S = 2000.0
"""Slower than any line that is used; only for time limits."""

_PROFILE_LINE = re.compile(r"m-(\w+)-\[?(.*?)\]?")
_CRC_LINE = re.compile(r"m-crc-(\d+)-(\d+)-([0-9A-F]{8})")
_OUTPUT_LINE = re.compile(r"m-output-(\d+)-([0-9A-F]*)")
_SIZE_LINE = re.compile(r"m-(input|output-size)-(\d+)-(\d+)")
_LAP_LINE = re.compile(r"m-lap-us-(\d+)")
_MEMORY_LINE = re.compile(r"m-memory-(static|stack|used|invoke)-(\d+)")


@dataclass(frozen=True)
class Profile:
    """What a board says it runs; sizes in bytes."""

    model: str
    digest: str
    limit_chars: int
    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]


@dataclass(frozen=True)
class Memory:
    """RAM as the board measured it, in bytes; 0 stack bytes where it does not measure.

    Attributes:
        static: .data and .bss of the whole program.
        stack: size of the stack.
        used: its high-water mark since the start.
        invoke: the most that one invocation of the model used.
    """

    static: int
    stack: int
    used: int
    invoke: int


@dataclass(frozen=True)
class Difference:
    """The first value that differs: which invocation, output, and flat index in it."""

    row: int
    output: int
    index: int
    want: str
    got: str


@dataclass(frozen=True)
class Comparison:
    """Values compared and how many differ; `time_us` sums the board's own clock over all rows."""

    rows: int
    values: int
    mismatches: int
    first: Difference | None
    time_us: int


def open_session(link: Link, *, timeout_s: float = 3.0) -> Client:
    """A client whose board answers; its first command's number is random.

    Raises:
        BoardError: there is no answer, or not refmicro's.
    """
    client = Client(link, int.from_bytes(os.urandom(4), "big"), timeout_s)
    client.resynchronise()
    name = client.command("name")
    if not name or not name[0].startswith("m-name-"):
        raise BoardError(
            f"the board does not run refmicro's runner: it says {name}",
            hint="build golden_runner or tflm_harness for it, see docs/board-protocol.md",
        )
    return client


def read_profile(client: Client) -> Profile:
    """What the board runs.

    Raises:
        BoardError: it is not this version's runner.
    """
    said = {}
    for line in _asked(client, "profile"):
        if found := _PROFILE_LINE.fullmatch(line):
            said[found[1]] = found[2]
    sizes: dict[str, dict[int, int]] = {"input": {}, "output-size": {}}
    for line in _asked(client, "tensors"):
        if found := _SIZE_LINE.fullmatch(line):
            sizes[found[1]][int(found[2])] = int(found[3])
    if said.get("profile") != PROFILE or not {"model", "digest", "limit"} <= set(said):
        raise BoardError(
            f"the board runs another version of the runner: {said.get('profile', 'unknown')}",
            hint=f"build it again with this refmicro ({PROFILE})",
        )
    return Profile(
        said["model"],
        said["digest"],
        int(said["limit"]),
        tuple(sizes["input"][i] for i in sorted(sizes["input"])),
        tuple(sizes["output-size"][i] for i in sorted(sizes["output-size"])),
    )


def read_memory(client: Client) -> Memory:
    """RAM as the board measures it."""
    found = {}
    for line in _asked(client, "memory"):
        if match := _MEMORY_LINE.fullmatch(line):
            found[match[1]] = int(match[2])
    return Memory(*(found.get(key, 0) for key in ("static", "stack", "used", "invoke")))


def _asked(client: Client, question: str) -> list[str]:
    """The answer to a question that changes nothing, asked anew where its answer was lost."""
    for _ in range(ATTEMPTS):
        lines = client.command(question)
        if lines != [REPEATED]:
            return lines
    raise BoardError(f"the answers to `{question}` are lost again and again")


def load(client: Client, profile: Profile, data: bytes) -> None:
    """Write all inputs, one behind the other, into the model's memory."""
    chunk = max(1, (profile.limit_chars - _HEX_OVERHEAD_CHARS) // 2)
    client.command(f"db load {len(data)}")
    for start in range(0, len(data), chunk):
        part = data[start : start + chunk]
        client.command(f"db {part.hex().upper()}", extra_s=len(part) / _BYTES_PER_S)


def invoke(client: Client, profile: Profile, *, timeout_s: float) -> tuple[list[bytes], int]:
    """Run the model once; returns the bytes of each output, and the board's time in microseconds.

    Raises:
        BoardError: no answer in time, or outputs that are damaged again and again.
    """
    expected_s = sum(profile.output_bytes) / _BYTES_PER_S
    lines = client.command("infer 1", extra_s=timeout_s + expected_s)
    laps = [int(match[1]) for line in lines if (match := _LAP_LINE.fullmatch(line))]
    time_us = (laps[1] - laps[0]) & 0xFFFFFFFF if len(laps) == 2 else 0
    for _ in range(ATTEMPTS):
        outputs = _outputs(lines, profile)
        if outputs is not None:
            return outputs, time_us
        lines = client.command("results", extra_s=expected_s)
    raise BoardError(
        f"the outputs arrive damaged in {ATTEMPTS} attempts: size or CRC is wrong",
        hint="check cable and ground, use a lower speed on both sides",
    )


def _outputs(lines: Sequence[str], profile: Profile) -> list[bytes] | None:
    """The bytes of all outputs, or None if one is not whole."""
    parts: dict[int, bytearray] = {i: bytearray() for i in range(len(profile.output_bytes))}
    checked = set()
    for line in lines:
        if (match := _OUTPUT_LINE.fullmatch(line)) and len(match[2]) % 2 == 0:
            parts.setdefault(int(match[1]), bytearray()).extend(bytes.fromhex(match[2]))
        elif match := _CRC_LINE.fullmatch(line):
            data = bytes(parts.get(int(match[1]), b""))
            if len(data) == int(match[2]) and zlib.crc32(data) == int(match[3], 16):
                checked.add(int(match[1]))
    whole = [bytes(parts[i]) for i in range(len(profile.output_bytes))]
    right = [len(data) for data in whole] == list(profile.output_bytes)
    return whole if right and checked == set(range(len(whole))) else None


def compare(
    client: Client,
    profile: Profile,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    steps: int,
    *,
    timeout_s: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Run all rows and compare every byte.

    Args:
        inputs, outputs: one array for each, rows first; `outputs` are the expected values.
        steps: rows of one stream: the model is reset before each row that begins one.
        timeout_s: for one invocation.
        progress: called as progress(done, total) with finished rows.

    Raises:
        BoardError: the board fails, or its tensors have other sizes.
    """
    rows = len(inputs[0]) if inputs else len(outputs[0])
    for kind, arrays, sizes in (
        ("inputs", inputs, profile.input_bytes),
        ("outputs", outputs, profile.output_bytes),
    ):
        wanted = tuple(array[0].nbytes for array in arrays)
        if wanted != sizes:
            raise BoardError(
                f"the {kind} of the board's model take other bytes than the vectors: "
                f"{list(sizes)}, not {list(wanted)}",
                hint="it runs another model; build and flash the right one",
            )
    values = mismatches = time_us = 0
    first = None
    for row in range(rows):
        if row % steps == 0:
            client.command("reset")
        if inputs:
            load(client, profile, b"".join(array[row].tobytes() for array in inputs))
        got, took_us = invoke(client, profile, timeout_s=timeout_s)
        time_us += took_us
        for number, (array, data) in enumerate(zip(outputs, got, strict=True)):
            want = np.ascontiguousarray(array[row]).reshape(-1)
            have = np.frombuffer(data, want.dtype)
            wrong = _different(want, have)
            values += want.size
            mismatches += int(wrong.sum())
            if first is None and wrong.any():
                at = int(wrong.argmax())
                first = Difference(row, number, at, str(want[at]), str(have[at]))
        progress(row + 1, rows)
    return Comparison(rows, values, mismatches, first, time_us)


def _different(want: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Which values differ in a bit: NaN equals itself, 0.0 does not equal -0.0."""
    width = want.dtype.itemsize
    bits = [array.view(np.uint8).reshape(-1, width) for array in (want, have)]
    return (bits[0] != bits[1]).any(axis=1)
