"""`tflm_harness.cc` speaks the protocol; TFLM itself is played by `tests/c/fake_tflm`."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from refmicro.board import session
from refmicro.board.emulated import firmware_folder
from refmicro.board.protocol import BoardError

from .conftest import C_FOLDER, FAKE_INPUT_BYTES, FAKE_OUTPUT_BYTES, ProcessLink, fake_vectors


def harness(tmp_path: Path, *flags: str) -> subprocess.Popen[bytes]:
    """A process that runs the harness."""
    cc, cxx = shutil.which("cc"), shutil.which("c++")
    if cc is None or cxx is None:
        pytest.skip("no C and C++ compiler here; gcc and g++ make it run")
    firmware = firmware_folder()
    fake = C_FOLDER / "fake_tflm"
    includes = [f"-I{path}" for path in (firmware / "common", fake, C_FOLDER)]
    objects = []
    for name in ("fake.c", "host_board.c"):
        objects.append(str(tmp_path / f"{name}.o"))
        subprocess.run([cc, *includes, "-c", str(C_FOLDER / name), "-o", objects[-1]], check=True)
    sources = [str(firmware / "tflm_harness" / "tflm_harness.cc"), str(fake / "user.cc")]
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fno-rtti", "-fno-exceptions", *flags]
    program = str(tmp_path / "harness")
    subprocess.run([cxx, *options, *includes, *sources, *objects, "-o", program], check=True)
    return subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_whole_session(tmp_path):
    process = harness(tmp_path, "-DTFLM_ARENA_BYTES=1000")
    try:
        client = session.open_session(ProcessLink(process))
        profile = session.read_profile(client)
        digest = f"crc32-{zlib.crc32(bytes([0, 1, 2, 3])):08X}"
        assert profile == session.Profile("tflm", digest, 512, FAKE_INPUT_BYTES, FAKE_OUTPUT_BYTES)
        inputs, outputs = fake_vectors(2, 3)
        found = session.compare(client, profile, inputs, outputs, 3, timeout_s=5)
        assert (found.rows, found.mismatches) == (6, 0)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "flags", [["-DTFLM_ARENA_BYTES=999"], ["-DTFLM_ARENA_BYTES=1000", "-DFIRST_BYTE=9"]]
)
def test_a_model_that_tflm_refuses(tmp_path, flags):
    process = harness(tmp_path, *flags)
    try:
        client = session.open_session(ProcessLink(process))
        profile = session.read_profile(client)
        assert profile.input_bytes == profile.output_bytes == ()
        client.command("reset")
        with pytest.raises(BoardError, match=r"refuses `infer`: \[Invoke failed: status 1\]"):
            client.command("infer 1")
    finally:
        process.kill()
        process.communicate()
