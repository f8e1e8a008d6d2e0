"""`refmicro transform`: what it writes, what it prints, and that nothing unproven is written."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path

import pytest

from refmicro.cli import _transform_steps, transform
from refmicro.cli.main import main
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.transform.stage import Part, Stage
from tests.models import ALL

pytestmark = pytest.mark.oracle

STREAM = str(ALL["m_elu_inplace2_off_int8"])
SCAN = str(ALL["s_elu_scan_int8"])


def run(*args: object) -> int:
    return main(["transform", *map(str, args)])


def document(capsys: pytest.CaptureFixture[str], *args: object) -> dict:
    assert run(*args, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_a_smaller_model_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.tflite"
    report = document(capsys, SCAN, "-o", out, "--reorder", "--plan")
    source, (part,) = report["source"], report["parts"]
    assert [facts["transform"] for facts in report["transforms"]] == ["reorder", "plan"]
    assert all(facts["optimal"] for facts in report["transforms"])
    assert (source["ilp32"]["used_bytes"], part["ilp32"]["used_bytes"]) == (9992, 6168)
    assert part["sha256"] == read_model(out).sha256
    assert part["lp64"]["required_bytes"] < source["lp64"]["required_bytes"]
    assert report["proof"]["equal"]
    assert report["proof"]["vectors"] == 16
    assert report["files"] == [str(out)]


def test_the_report_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.tflite"
    assert run(SCAN, "-o", out, "--plan", "--count", 2) == 0
    text = capsys.readouterr().out
    assert "plan: asked for yes, changed yes, head bytes 6,288" in text
    assert "source" in text
    assert "9,992" in text
    assert "proven: every output byte equal" in text
    assert f"written: {out}" in text


def test_steps_run_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the order of the flags."""
    report = document(capsys, STREAM, "-o", tmp_path / "m.tflite", "--plan", "--fuse", "--reorder")
    assert [facts["transform"] for facts in report["transforms"]] == ["fuse", "reorder", "plan"]
    assert report["parts"][0]["ilp32"]["required_bytes"] <= 10_000


def test_the_scan_operator_comes_with_its_registration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    report = document(capsys, STREAM, "-o", out, "--fuse", "--fuse-scan", "--reorder", "--plan")
    assert report["parts"][0]["ilp32"]["required_bytes"] <= 6_000
    assert "Register_SELECTIVE_SCAN" in (tmp_path / "selective_scan.cc").read_text()


def test_numbers_change_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.tflite"
    source = str(ALL["front_whole_L49_pc"])
    assert run(source, "-o", out, "--per-tensor", "--count", 4) == 0
    text = capsys.readouterr().out
    assert "numbers changed, as asked" in text
    assert "values differ, by" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "transform needs at least one thing to do"),
        (("--plan", "--count", 0), "--count must be at least 1"),
        (("--plan", "--seed", -1), "--seed at least 0"),
        (("--plan", "--time-limit", 0), "--time-limit above 0"),
        (("--plan", "--time-limit", "nan"), "--time-limit above 0"),
        (("--split", 0), "--split takes the bytes"),
    ],
)
def test_usage(
    args: tuple[object, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(SCAN, "-o", tmp_path / "m.tflite", *args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert not list(tmp_path.iterdir())


def test_the_source_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "m.tflite"
    source.write_bytes(Path(SCAN).read_bytes())
    assert run(source, "-o", tmp_path / "." / "m.tflite", "--plan") == 2
    assert "the output must not be the source itself" in capsys.readouterr().err
    assert source.read_bytes() == Path(SCAN).read_bytes()


def test_a_model_that_tflm_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ALL["p_exp_int8"], "-o", tmp_path / "m.tflite", "--plan") == 3
    assert "EXP" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def flag(name: str) -> _transform_steps.Step:
    """A step that only takes part in the command; tests give it something to do."""

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(f"--{name}", action="store_true")

    return _transform_steps.Step(f"--{name}", configure, lambda stage, args, progress: stage)


def broken(model: Model) -> Model:
    """The model with one weight changed."""
    graph = model.subgraphs[0]
    index = next(
        i
        for op in graph.operators
        for i in op.inputs
        if op.name == "FULLY_CONNECTED" and graph.tensors[i].is_constant
    )
    data = bytearray(graph.tensors[index].data)
    data[0] ^= 0x7F
    tensors = list(graph.tensors)
    tensors[index] = dataclasses.replace(tensors[index], data=bytes(data))
    changed = dataclasses.replace(graph, tensors=tuple(tensors))
    return dataclasses.replace(model, subgraphs=(changed,), source=None)


def test_nothing_is_written_without_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(stage: Stage, args: argparse.Namespace, progress: object) -> Stage:
        return stage.map(lambda model: (broken(model), {"transform": "break"}))

    step = dataclasses.replace(flag("break"), apply=breaks)
    monkeypatch.setattr(transform, "STEPS", (step, *_transform_steps.STEPS))
    out = tmp_path / "m.tflite"
    assert run(ALL["s_elu_head_int8"], "-o", out, "--break") == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "result in TFLM against source in TFLM, vector 0, output 0, element 0" in shown.err
    assert "nothing was written" in shown.err
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the last of several files is written."""
    replace, count = os.replace, []

    def interrupted(*paths: object) -> None:
        count.append(paths)
        raise KeyboardInterrupt

    monkeypatch.setattr("refmicro._files.os.replace", interrupted)
    assert run(STREAM, "-o", tmp_path / "m.tflite", "--fuse", "--fuse-scan", "--count", 1) == 130
    monkeypatch.setattr("refmicro._files.os.replace", replace)
    assert len(count) == 1
    assert capsys.readouterr().err == "error: interrupted\n"
    assert not list(tmp_path.iterdir())


def test_several_parts_go_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models that run one after the other, with a file beside them."""
    first, second = (read_model(ALL[name]) for name in ("s_elu_head_int8", "s_elu_back_int8"))

    def cuts(stage: Stage, args: argparse.Namespace, progress: object) -> Stage:
        return dataclasses.replace(
            stage,
            parts=(Part("front", first), Part("rest", second)),
            arrange=lambda models, open_model: open_model(models[0]),
            facts=({"transform": "cut", "parts": 2},),
            files={"manifest.json": b"{}"},
        )

    step = dataclasses.replace(flag("cut"), apply=cuts)
    monkeypatch.setattr(transform, "STEPS", (step, *_transform_steps.STEPS))
    out = tmp_path / "parts"
    report = document(capsys, ALL["s_elu_head_int8"], "-o", out, "--cut", "--plan")
    assert {path.name for path in out.iterdir()} == {
        "front.tflite",
        "rest.tflite",
        "manifest.json",
    }
    assert [part["name"] for part in report["parts"]] == ["front", "rest"]
    assert [facts.get("part") for facts in report["transforms"]] == [None, "front", "rest"]
    assert read_model(out / "rest.tflite").metadata, "each part gets its plan"
