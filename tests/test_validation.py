"""Whole models on emulated and real boards: `refmicro validate`, and what it says to mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refmicro import validation
from refmicro._files import npz_bytes
from refmicro.board import build, emulated
from refmicro.cli.main import main
from refmicro.errors import UsageError
from refmicro.model.reader import read_model
from tests.board.conftest import missing_tools
from tests.models import MAMBA

MODEL = MAMBA["s_elu_stream_int8"]
SMALL = MAMBA["s_elu_head_int8"]


def skip_without_tools(name: str) -> None:
    if reason := missing_tools(emulated.find_emulated(name)):
        pytest.skip(reason)


def validated(capsys, *arguments: str) -> tuple[int, dict]:
    code = main(["validate", *arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else {}


@pytest.mark.parametrize("board", list(emulated.EMULATED_BOARDS))
def test_a_small_model_is_equal_on_every_board(board, capsys):
    skip_without_tools(board)
    golden = ["--golden", str(SMALL.parent)]
    code, found = validated(capsys, str(SMALL), "--board", f"qemu:{board}", *golden)
    assert (code, found["equal"]) == (0, True)
    assert found["counts"]["operators"][0]["name"] == "FULLY_CONNECTED"


@pytest.mark.parametrize("board", ["mps2-an386", "riscv-virt"])
def test_a_model_is_equal_and_its_counts_add_up(board, capsys):
    skip_without_tools(board)
    golden = ["--golden", str(MODEL.parent)]
    code, found = validated(capsys, str(MODEL), "--board", f"qemu:{board}", *golden)
    assert code == 0
    assert found["schema_version"] == 1
    assert found["equal"]
    assert found["mismatches"] == 0
    assert found["first"] is None
    expected = np.load(MODEL.parent / "outputs.npz")
    assert found["values"] == sum(array.size for array in expected.values())
    counts = found["counts"]
    assert counts["invocations"] == found["vectors"]["count"] * found["vectors"]["steps"]
    within = sum(row["instructions"] for row in counts["operators"])
    assert 0 <= counts["instructions"] - within < 20 * counts["invocations"]
    for kind in ("loads", "stores"):
        assert sum(row[kind]["ram"] for row in counts["operators"]) == counts[kind]["ram"]
    ram = found["ram"]
    assert ram["model_bytes"] == ram["model_static_bytes"] + ram["invoke_stack_bytes"]
    assert 0 < ram["invoke_stack_bytes"] < ram["stack_used_bytes"] < ram["stack_bytes"]
    assert found["flash"]["model"][".rodata"] > 30_000, "the weights"
    assert found["flash"]["program"][".text"] > found["flash"]["model"][".text"]


@pytest.mark.oracle
def test_vectors_from_the_oracle(capsys):
    skip_without_tools("mps2-an386")
    arguments = ["--count", "2", "--steps", "3", "--seed", "9"]
    code, found = validated(capsys, str(SMALL), "--board", "qemu:mps2-an386", *arguments)
    assert code == 0
    assert found["vectors"] == {"source": "oracle", "count": 2, "steps": 3, "seed": 9}
    assert found["invocations"] == 6


@pytest.fixture
def wrong_golden(tmp_path: Path) -> Path:
    """The small model's golden vectors, with one expected value changed, and its checksum."""
    folder = tmp_path / "golden"
    shutil.copytree(SMALL.parent, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "outputs.npz") as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    flat = arrays["0"].reshape(-1)
    flat[7] ^= 1
    manifest["outputs"][0]["crc32"] = validation.zlib.crc32(arrays["0"].tobytes())
    (folder / "outputs.npz").write_bytes(npz_bytes(arrays))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_difference_is_exit_4(wrong_golden, capsys):
    skip_without_tools("mps2-an386")
    board = ["--board", "qemu:mps2-an386"]
    code, found = validated(capsys, str(SMALL), *board, "--golden", str(wrong_golden))
    assert code == 4
    assert not found["equal"]
    assert found["mismatches"] == 1
    elements = read_model(SMALL).subgraphs[0].tensors[read_model(SMALL).subgraphs[0].outputs[0]]
    assert found["first"]["index"] == 7 % elements.elements
    assert int(found["first"]["want"]) == int(found["first"]["got"]) ^ 1
    assert main(["validate", str(SMALL), *board, "--golden", str(wrong_golden)]) == 4
    text = capsys.readouterr().out
    assert text.startswith("DIFFERS")
    assert "stack high-water" in text
    assert "FULLY_CONNECTED" in text


def test_a_program_that_is_kept_runs_again(tmp_path, capsys):
    skip_without_tools("mps2-an386")
    board = ["--board", "qemu:mps2-an386", "--golden", str(SMALL.parent)]
    kept = tmp_path / "kept"
    code, first = validated(capsys, str(SMALL), *board, "--keep", str(kept))
    assert code == 0
    names = {path.name for path in kept.iterdir()}
    assert {"s_elu_head_int8.c", "s_elu_head_int8.elf", "golden_model.h"} <= names
    program = ["--program", str(kept / "s_elu_head_int8.elf")]
    code, again = validated(capsys, str(SMALL), *board, *program)
    assert code == 0
    assert again["flash"] == {"model": None, "program": first["flash"]["program"]}
    counts = [found["counts"] for found in (first, again)]
    # The runner's few instructions around an invocation come to it.
    assert 0 < counts[1]["instructions"] - counts[0]["instructions"] < 40 * first["invocations"]
    assert main(["validate", str(SMALL), *board, *program]) == 0
    assert "flash of the program" in capsys.readouterr().out
    assert main(["validate", str(SMALL), *board, "--program", str(SMALL)]) == 2
    assert "not a 32-bit little-endian ELF program" in capsys.readouterr().err


def test_exported_sources_run_on_a_serial_port(tmp_path, capsys):
    """What `--export` writes, compiled by its user with a board of theirs: here a process."""
    compiler = shutil.which("cc")
    if compiler is None or not hasattr(os, "openpty"):
        pytest.skip("no C compiler or no pseudo-terminals here; gcc on Linux makes it run")
    pytest.importorskip("serial", reason="pip install refmicro[board] makes it run")
    import tty

    exported = tmp_path / "sources"
    assert main(["validate", str(SMALL), "--export", str(exported), "--target", "host"]) == 0
    listed = capsys.readouterr().out.split()
    assert sorted(listed) == sorted(str(path) for path in exported.iterdir())
    board = Path(__file__).parent / "c" / "host_board.c"
    program = tmp_path / "board"
    sources = [*map(str, exported.glob("*.c")), str(board)]
    command = [compiler, "-O1", f"-I{exported}", *sources, "-o", str(program)]
    subprocess.run(command, check=True)
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    process = subprocess.Popen([str(program)], stdin=ours, stdout=ours)
    port = ["--board", f"serial:{os.ttyname(theirs)}"]
    try:
        code, found = validated(capsys, str(SMALL), *port, "--golden", str(SMALL.parent))
        assert (code, found["equal"], found["counts"]) == (0, True, None)
        assert found["time_us"] == 250 * found["invocations"]
        assert main(["validate", str(SMALL), *port, "--golden", str(SMALL.parent)]) == 0
        assert "250 us" in capsys.readouterr().out
        code = main(["validate", str(MODEL), *port, "--golden", str(MODEL.parent)])
        assert code == 5
        assert "runs another model: s_elu_head_int8" in capsys.readouterr().err
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either --board or --export"),
        (["--board", "toaster"], "--board must be qemu:NAME or serial:PORT"),
        (["--board", "qemu:"], "--board must be qemu:NAME or serial:PORT"),
        (["--board", "qemu:toaster"], "no such emulated board: toaster"),
        (["--board", "serial:x", "--baud", "0", "--golden", "GOLDEN"], "--baud"),
        (["--board", "qemu:mps2-an386", "--stack", "5"], "--stack must be"),
        (["--board", "qemu:mps2-an386", "--timeout", "0"], "--timeout must be"),
        (["--board", "qemu:mps2-an386", "--timeout", "nan"], "--timeout must be"),
        (["--board", "qemu:mps2-an386", "--seed", "-1"], "--seed must be"),
        (["--board", "qemu:mps2-an386", "--golden", "GOLDEN", "--count", "2"], "--golden has"),
        (["--board", "serial:x", "--keep", "there"], "--keep and --stack are for emulated"),
        (["--export", "there", "--target", "toaster"], "toaster"),
    ],
)
def test_wrong_arguments(arguments, words, capsys):
    arguments = [str(SMALL.parent) if item == "GOLDEN" else item for item in arguments]
    if "serial:x" in arguments:
        pytest.importorskip("serial", reason="pip install refmicro[board] makes it run")
    assert main(["validate", str(SMALL), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_golden_vectors_that_cannot_be_used(tmp_path):
    model = read_model(SMALL)
    with pytest.raises(UsageError, match="no golden vectors here"):
        validation.stored_vectors(model, tmp_path)
    with pytest.raises(UsageError, match="of another model"):
        validation.stored_vectors(model, MODEL.parent)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="not a manifest"):
        validation.stored_vectors(model, tmp_path)
    folder = tmp_path / "damaged"
    shutil.copytree(SMALL.parent, folder)
    with np.load(folder / "inputs.npz") as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    arrays["0"].reshape(-1)[0] ^= 1
    (folder / "inputs.npz").write_bytes(npz_bytes(arrays))
    with pytest.raises(UsageError, match=r"damaged: .*inputs.npz, array 0"):
        validation.stored_vectors(model, folder)
    (folder / "inputs.npz").write_bytes(npz_bytes({}))
    with pytest.raises(UsageError, match="not whole"):
        validation.stored_vectors(model, folder)


def test_no_compiler_is_exit_5(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["validate", str(SMALL), "--board", "qemu:mps2-an386"]) == 5
    error = capsys.readouterr().err
    assert "no compiler for mps2-an386 here: arm-none-eabi-gcc" in error
    assert "hint: install it" in error


def test_an_operator_without_c_is_exit_3(monkeypatch, capsys):
    skip_without_tools("mps2-an386")
    monkeypatch.setattr("refmicro.emit.registry.find", lambda name: None)
    golden = ["--golden", str(SMALL.parent)]
    assert main(["validate", str(SMALL), "--board", "qemu:mps2-an386", *golden]) == 3
    assert "FULLY_CONNECTED" in capsys.readouterr().err


def test_names_are_identifiers():
    assert validation.model_name(Path("a/b/model.tflite")) == "b"
    assert validation.model_name(Path("a/9 lives.tflite")) == "model_9_lives"
    assert build.model_digest(b"123456789") == "crc32-CBF43926"
