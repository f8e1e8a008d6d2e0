"""Addresses in kernels with VNNI are not checked, so forbidden pages do it here."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_int8_gemm import needs_vnni

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", "tests.ops.guarded", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode


@needs_vnni
@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beside_arrays_is_touched():
    assert run() == 0
    assert run("--too-far") < 0, "the guard itself must kill"
