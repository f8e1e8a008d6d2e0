"""`refmicro explain`: what it prints, its JSON, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refmicro.cli.main import main
from refmicro.model.reader import read_model
from tests.models import ALL

MODEL = str(ALL["person_detect"])


@pytest.fixture
def archive(tmp_path: Path) -> str:
    graph = read_model(MODEL).subgraphs[0]
    shape = graph.tensors[graph.inputs[0]].shape
    values = np.random.default_rng(0).integers(-128, 128, (2, *shape)).astype(np.int8)
    path = tmp_path / "in.npz"
    np.savez(path, **{"0": values})
    return str(path)


def run(*args: object) -> int:
    return main(["explain", *map(str, args)])


def test_an_element(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, "--element", "0:54:0,3,4,5", "--input", archive) == 0
    out = capsys.readouterr().out
    assert out.startswith("element 0:54[0,3,4,5]")
    assert "written by operator 2, CONV_2D" in out
    assert "sum of 8 products (input - zero point) * weight" in out
    assert "rounded half away from zero" in out
    assert "equal to the interpreter's value" in out


def test_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, "--element", "0:54:77", "--input", archive, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    element = document["element"]
    assert element["is_worked"]
    assert element["steps"][-1]["value"] == element["value"]
    assert run(MODEL, "--tensor", "0:54", "--json") == 0
    place = json.loads(capsys.readouterr().out)["allocation"]
    assert (place["turn"], place["buffer"]["offset"]) == (1, 0)
    assert run("--error", "Failed starting model allocation.", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["lines"]) == 1


def test_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, "--allocation", 3, "--abi", "lp64") == 0
    out = capsys.readouterr().out
    assert "placed as number 4 of" in out
    assert "live at one time with it" in out
    assert run(MODEL, "--tensor", "0:1") == 0
    assert "it is a constant of" in capsys.readouterr().out


def test_a_line_of_tflm(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--error", "Didn't find op for builtin opcode 'EXP'") == 0
    out = capsys.readouterr().out
    assert "means:  the op resolver does not know EXP" in out
    assert "source: tensorflow/lite/micro/micro_op_resolver.cc" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--tensor", "0:1"), "a model is needed"),
        ((MODEL, "--element", "0:54:1"), "--element and --input IN.npz go together"),
        ((MODEL, "--tensor", "0:1", "--input", "x.npz"), "go together"),
        ((MODEL, "--tensor", "0"), "--tensor must be SUBGRAPH:TENSOR"),
        ((MODEL, "--tensor", "0:999"), "a tensor of subgraph 0 must be below"),
        ((MODEL, "--allocation", 99999), "an allocation must be below"),
        (("--error", "all is well"), "not a line of TFLM"),
        (("nowhere.tflite", "--tensor", "0:1"), "nowhere.tflite"),
    ],
)
def test_refusals(
    args: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("0:54", "--element must be SUBGRAPH:TENSOR:INDEX"),
        ("0:54:a", "--element must be SUBGRAPH:TENSOR:INDEX"),
        ("0:54:0,99,0,0", "an index must lie inside of"),
        ("0:54:99999999", "a flat index must be below"),
    ],
)
def test_elements_that_are_not_there(
    element: str, message: str, archive: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(MODEL, "--element", element, "--input", archive) == 2
    assert message in capsys.readouterr().err


def test_arrays_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **{"0": np.zeros((3, 3), np.int8)})
    assert run(MODEL, "--element", "0:54:1", "--input", path) == 2
    assert "input 0 must be" in capsys.readouterr().err
    np.savez(path, **{"1": np.zeros(3, np.int8)})
    assert run(MODEL, "--element", "0:54:1", "--input", path) == 2
    assert "the model's inputs are named 0" in capsys.readouterr().err
