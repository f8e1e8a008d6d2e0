"""`refmicro emit`: what it writes and prints, and that nothing wrong is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from refmicro.cli.main import main
from refmicro.emit import compiler, emitter
from refmicro.emit.compiler import find_compiler
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.models import ALL
from tests.ops.elementwise import single_model

HEAD = str(ALL["s_elu_head_int8"])
SPOTTER = str(ALL["kws_mamba_int8"])

needs_compiler = pytest.mark.skipif(
    find_compiler() is None, reason="no C compiler here: install gcc or clang, or set CC"
)


def run(*args: object) -> int:
    return main(["emit", *map(str, args)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


@needs_compiler
def test_files_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c"
    assert run(SPOTTER, "-o", out, "--target", "host", "--count", 2, "--json") == 0
    text, err = capsys.readouterr()
    assert err == ""
    report = json.loads(text)
    name = "kws_mamba_int8"
    files = [f"{name}.c", f"{name}.h", f"{name}_data.h", "mema.h"]
    assert names(out) == files
    assert sorted(report["files"]) == [str(out / file) for file in files]
    ram = report["ram"]
    assert ram["total_bytes"] == ram["state_bytes"] + ram["head_bytes"] + ram["static_bytes"]
    assert (
        f"#define KWS_MAMBA_INT8_ARENA_BYTES {ram['arena_bytes']}u"
        in (out / f"{name}.h").read_text()
    )
    assert report["flash"]["constants_bytes"] > 20000
    assert report["flash"]["code_bytes"] > 0
    assert [op["number"] for op in report["operators"]] == list(range(len(report["operators"])))
    assert "SELECTIVE_SCAN" in {op["name"] for op in report["operators"]}
    proof = report["proof"]
    assert proof["proven"]
    assert proof["mismatches"] == 0
    assert (proof["vectors"], proof["steps"], proof["values"]) == (2, 8, 160)


@needs_compiler
def test_report_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(HEAD, "-o", tmp_path, "--target", "host", "--count", 2, "--name", "head") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "RAM: 76 bytes" in out
    assert "proven: every output byte equal" in out
    assert f"written: {tmp_path / 'head.c'}" in out


@needs_compiler
def test_as_is_leaves_the_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--target", "host", "--count", 1, "--as-is", "--json")
    assert run(SPOTTER, "-o", tmp_path, *options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["transforms"] == []
    assert len(report["operators"]) == report["model"]["operators"]


@needs_compiler
def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run(HEAD, "-o", tmp_path / folder, "--target", "host", "--count", 1) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_operators_without_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = single_model("LOGISTIC", DType.FLOAT32, (4,))
    (tmp_path / "float.tflite").write_bytes(write_model(model))
    assert run(tmp_path / "float.tflite", "-o", tmp_path / "c") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "operator 0 (LOGISTIC): cannot be emitted as C: takes float32" in err
    assert "hint:" in err
    assert names(tmp_path / "c") == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--target", "z80"), "no such target: z80"),
        (("--name", "not a name"), "must be a C identifier"),
        (("--count", "0"), "--count must be at least 1"),
        (("--seed", "-1"), "--seed at least 0"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str
) -> None:
    assert run(HEAD, "-o", tmp_path / "c", *args) == 2
    assert said in capsys.readouterr().err
    assert names(tmp_path / "c") == []


def test_without_a_compiler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run(HEAD, "-o", tmp_path, "--name", "head", "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert not report["proof"]["proven"]
    assert report["flash"]["code_bytes"] is None
    assert "not proven: there is no C compiler" in err
    assert "head.c" in names(tmp_path)


def test_no_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(HEAD, "-o", tmp_path, "--no-proof", "--name", "head") == 0
    out, err = capsys.readouterr()
    assert "not proven: --no-proof was given" in out
    assert "not proven" in err
    assert "head.c" in names(tmp_path)


@needs_compiler
def test_wrong_c_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias that is not the model's, as a faulty emitter could write it."""
    emit = emitter.emit

    def faulty(*args: object, **more: object) -> emitter.Emitted:
        found = emit(*args, **more)
        data = found.files["head_data.h"]
        assert b" -1302," in data
        found.files["head_data.h"] = data.replace(b" -1302,", b" 130200,")
        return found

    monkeypatch.setattr(emitter, "emit", faulty)
    code = run(HEAD, "-o", tmp_path / "c", "--target", "host", "--name", "head", "--count", 4)
    err = capsys.readouterr().err
    assert code == 4
    assert "the emitted C must" in err
    assert names(tmp_path / "c") == []


@needs_compiler
def test_a_warning_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from refmicro.errors import DifferenceError

    files = {"x.c": b'#include "x.h"\nint x(void) { int unused; return 0; }\n', "x.h": b"\n"}
    with pytest.raises(DifferenceError, match="unused"), compiler.compiled(files, "x"):
        pass


def test_a_file_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c").write_text("")
    for folder in (tmp_path / "c", tmp_path / "c" / "d"):
        assert run(HEAD, "-o", folder, "--no-proof") == 2
        err = capsys.readouterr().err
        assert "cannot write" in err
        assert "hint:" in err


def test_a_file_in_the_way_is_found_before_the_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **more: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(emitter, "emit", never)
    (tmp_path / "c").write_text("")
    assert run(HEAD, "-o", tmp_path / "c") == 2
    assert "a file is in the way" in capsys.readouterr().err


def test_registrations_fuse_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(HEAD, "-o", tmp_path / "c", "--registrations", "--as-is") == 2
    assert "never fuse" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
