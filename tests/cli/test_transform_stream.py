"""`refmicro transform --stream` and `--while`: sequences to steps, steps to loops, and refusals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from refmicro.cli import _transform_steps, transform
from refmicro.cli.main import main
from refmicro.interpreter import Interpreter
from refmicro.model.reader import read_model
from refmicro.model.writer import write_model
from refmicro.program import has_state, prepare_model
from refmicro.transform.stage import Stage
from refmicro.types import TflmBuild
from refmicro.vectors import random_inputs
from tests.cli.test_transform import broken
from tests.models import ALL
from tests.transform.test_stream import recurrence

pytestmark = pytest.mark.oracle

FRONT = str(ALL["front_whole_L49_pc"])
UNROLLED = str(ALL["u3_elu_trained_int8"])
STEP = str(ALL["s_elu_stream_int8"])
KEPT = str(ALL["g_elu_resvar_int8"])


def run(*args: object) -> int:
    return main(["transform", *map(str, args)])


def document(capsys: pytest.CaptureFixture[str], *args: object) -> dict:
    assert run(*args, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def facts_of(report: dict, name: str) -> dict:
    (facts,) = [item for item in report["transforms"] if item["transform"] == name]
    return facts


# Whole sequences to steps


@pytest.mark.parametrize("form", ["io", "resource", "variable"])
def test_whole_sequences_become_steps(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "step.tflite"
    report = document(capsys, FRONT, "-o", out, "--stream", form, "--count", 3)
    facts = facts_of(report, "stream")
    assert (facts["form"], facts["frames"], facts["state_bytes"]) == (form, 49, 384)
    assert facts["changes"] == []
    (state,) = facts["states"]
    assert (state["bytes"], state["type"], state["initial"]) == (384, "INT8", 4)
    step = read_model(out)
    graph = step.subgraphs[0]
    assert len(graph.inputs) == (2 if form == "io" else 1)
    assert has_state(prepare_model(step, TflmBuild.wheel())) == (form != "io")
    if form == "io":
        given, made = graph.inputs[state["input"]], graph.outputs[state["output"]]
        assert graph.tensors[given].shape == graph.tensors[made].shape == tuple(state["shape"])
    assert report["proof"]["equal"]
    assert report["proof"]["vectors"] == 3
    # Seven sequences of 49 frames each are compared.
    whole = read_model(FRONT).subgraphs[0]
    assert report["proof"]["values"] == 3 * sum(whole.tensors[i].elements for i in whole.outputs)


def test_a_step_is_made_small_like_any_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scan fused before, copies and frames after, then order and plan."""
    flags = ("--fuse-scan", "--stream", "variable", "--mean", "window")
    more = ("--fuse", "--reorder", "--plan", "--count", 2)
    report = document(capsys, UNROLLED, "-o", tmp_path / "m.tflite", *flags, *more)
    names = [facts["transform"] for facts in report["transforms"]]
    assert names == ["fuse", "fuse-scan", "stream", "fuse", "reorder", "plan"]
    assert report["proof"]["equal"]
    size = report["parts"][0]["ilp32"]["required_bytes"]
    assert size < report["source"]["ilp32"]["required_bytes"] / 5
    assert report["files"][1].endswith("selective_scan.cc")


def test_what_changes_numbers_must_be_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    assert run(UNROLLED, "-o", out, "--stream", "--count", 2) == 3
    err = capsys.readouterr().err
    assert "the step model would change numbers" in err
    assert "--allow-changes takes it as it is" in err
    assert not list(tmp_path.iterdir())
    report = document(capsys, UNROLLED, "-o", out, "--stream", "--allow-changes", "--count", 2)
    assert len(report["changes_numbers"]) == 3
    proof = report["proof"]
    assert proof["sound"]
    assert not proof["equal"]
    assert 0 < proof["mismatches"] <= proof["values"]
    assert proof["largest_difference"] > 0


def test_a_step_model_gets_another_form_of_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    report = document(capsys, KEPT, "-o", out, "--stream", "variable", "--count", 3)
    # One row of vectors from reset state and two sequences.
    assert report["proof"]["vectors"] == 9
    assert report["proof"]["equal"]
    names = {op.name for op in read_model(out).subgraphs[0].operators}
    assert not names & {"READ_VARIABLE", "ASSIGN_VARIABLE", "VAR_HANDLE"}
    back = tmp_path / "back.tflite"
    report = document(capsys, out, "-o", back, "--stream", "--count", 3)
    assert [state["input"] for state in facts_of(report, "stream")["states"]] == [1, 2]
    assert len(read_model(back).subgraphs[0].inputs) == 3


def test_a_state_that_its_caller_carries_is_told_by_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--stream", "variable", "--state", "1:1,2:2", "--count", 12)
    out = tmp_path / "m.tflite"
    assert run(STEP, "-o", out, *flags) == 3
    err = capsys.readouterr().err
    assert "a state must have one quantization" in err
    assert "--state-scale" in err
    report = document(capsys, STEP, "-o", out, *flags, "--state-scale", "requantize")
    assert report["proof"]["equal"], "a caller that rescales gets the same bytes"
    report = document(capsys, STEP, "-o", out, *flags, "--state-scale", "reinterpret")
    assert report["changes_numbers"]
    assert not report["proof"]["equal"]


# And back


@pytest.mark.parametrize("collect", ["last", "all", "mean"])
def test_a_step_model_becomes_a_loop(
    collect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "loop.tflite"
    flags = ("--while", 6, "--collect", collect, "--count", 5)
    report = document(capsys, KEPT, "-o", out, *flags)
    facts = facts_of(report, "while")
    assert (facts["frames"], facts["collect"], facts["exact_sum"]) == (6, collect, True)
    assert report["proof"]["equal"]
    loop, step = read_model(out), read_model(KEPT)
    assert loop.subgraphs[0].operators[0].name == "WHILE"
    if collect == "mean":
        return
    (given,) = loop.subgraphs[0].inputs
    frames = random_inputs([loop.subgraphs[0].tensors[given]], 2, 7)
    (got,) = Interpreter(loop).invoke_batch(frames)
    rows = frames[0].reshape(2, 6, *step.subgraphs[0].tensors[step.subgraphs[0].inputs[0]].shape)
    (want,) = Interpreter(step).invoke_sequence([rows])
    wanted = want[:, -1] if collect == "last" else want
    assert got.tobytes() == wanted.tobytes()


def test_a_loop_with_the_head_of_a_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--while", 49, "--collect", "mean", "--head", ALL["s_elu_head_int8"])
    more = ("--state-scale", "requantize", "--fuse", "--reorder", "--plan", "--count", 2)
    report = document(capsys, STEP, "-o", tmp_path / "m.tflite", *flags, *more)
    assert report["proof"]["equal"]
    golden = read_model(ALL["g_elu_while_int8"])
    assert report["parts"][0]["operators"] <= golden.operator_count
    assert report["parts"][0]["ilp32"]["required_bytes"] < 24_208


def test_an_unrolled_model_becomes_a_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same interface, so that any caller of the source may use it."""
    out = tmp_path / "m.tflite"
    flags = ("--fuse-scan", "--mean", "window", "--stream", "--while", 49, "--fuse", "--count", 2)
    report = document(capsys, UNROLLED, "-o", out, *flags)
    assert report["proof"]["equal"]
    ends = []
    for model in (read_model(UNROLLED), read_model(out)):
        graph = model.subgraphs[0]
        ends.append([graph.tensors[i].nbytes for i in (*graph.inputs, *graph.outputs)])
    assert ends[0] == ends[1]


# What is refused


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((STEP, "--plan", "--mean", "window"), 2, "--mean says how, and needs --stream with it"),
        ((STEP, "--plan", "--collect", "all"), 2, "--collect says how, and needs --while"),
        ((STEP, "--plan", "--wide-state"), 2, "--wide-state says how, and needs --fuse-scan"),
        ((STEP, "--plan", "--allow-changes"), 2, "needs --fuse or --stream with it"),
        ((KEPT, "--while", 0), 2, "a loop needs at least one step: 0"),
        ((KEPT, "--while", 99999999), 2, "fewer than 100,000 steps here: 99,999,999"),
        ((STEP, "--while", 5, "--state", "1-1"), 2, "states must be pairs"),
        ((STEP, "--while", 5, "--state", "1:1,1:2"), 2, "each input can carry one state"),
        ((STEP, "--while", 5, "--state", "9:1"), 2, "states must be inputs below 3"),
        ((FRONT, "--stream", "--time-axis", 7), 2, "an axis must be below"),
        ((FRONT, "--stream", "--while", 48), 2, "as many steps as the source has frames, 49"),
        ((FRONT, "--stream", "--while", 49, "--collect", "all"), 2, "are for a step model"),
        ((FRONT, "--stream", "--while", 49), 3, "frames and one result"),
        ((ALL["g_elu_while_int8"], "--while", 4), 3, "a step model must have 1 subgraph"),
        ((ALL["person_detect"], "--stream"), 3, "cannot be done frame by frame"),
        ((ALL["trained_lstm_int8"], "--stream"), 3, "UNIDIRECTIONAL_SEQUENCE_LSTM"),
        ((KEPT, "--while", 3, "--head", "nowhere.tflite"), 2, "nowhere.tflite"),
    ],
)
def test_refusals(
    args: tuple[object, ...],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(args[0], "-o", tmp_path / "m.tflite", *args[1:]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args", [(FRONT, "--stream"), (KEPT, "--while", 4), (KEPT, "--stream", "variable")]
)
def test_nothing_is_written_without_proof(
    args: tuple[object, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A weight that changes on the way is found in whole sequences as well."""

    def breaks(stage: Stage, args: argparse.Namespace, progress: object) -> Stage:
        return stage.map(lambda model: (broken(model), {"transform": "break"}))

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--break", action="store_true")

    step = _transform_steps.Step("--break", configure, breaks)
    monkeypatch.setattr(transform, "STEPS", (step, *_transform_steps.STEPS))
    out = tmp_path / "m.tflite"
    assert run(args[0], "-o", out, *args[1:], "--break", "--count", 2) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "against source in TFLM" in shown.err
    assert "nothing was written" in shown.err
    assert not list(tmp_path.iterdir())


def test_a_plan_is_made_anew_where_the_source_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan holds for one graph only; without it the result would need more than the source."""
    source = ALL["m_elu_inplace2_off_int8"]
    report = document(capsys, source, "-o", tmp_path / "a.tflite", "--fuse", "--count", 2)
    assert facts_of(report, "plan")["asked_for"] is False
    small = report["parts"][0]["ilp32"]["required_bytes"]
    assert small < report["source"]["ilp32"]["required_bytes"]
    flags = ("--fuse", "--no-plan", "--count", 2)
    report = document(capsys, source, "-o", tmp_path / "b.tflite", *flags)
    assert [facts["transform"] for facts in report["transforms"]] == ["fuse"]
    assert report["parts"][0]["ilp32"]["required_bytes"] > small


# Steps and frames in parts


def test_frames_become_one_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames that were quantized each for itself, on one scale: one model, called for each."""
    source = tmp_path / "unrolled.tflite"
    source.write_bytes(write_model(recurrence(lambda t: 0.05 + 0.01 * (t % 3))))
    out = tmp_path / "parts"
    report = document(capsys, source, "-o", out, "--one-scale", "--split", 4000, "--count", 6)
    assert len(report["changes_numbers"]) == 1
    assert report["proof"]["sound"]
    facts = facts_of(report, "split")
    assert facts["repeated"]
    assert facts["models"] < facts["calls"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert max(item["calls"] for item in manifest["models"]) >= 6
    flags = ("--one-scale", "--split", 4000, "--no-repeats", "--count", 2)
    plain = document(capsys, source, "-o", tmp_path / "plain", *flags)
    assert facts_of(plain, "split")["calls"] <= facts["calls"]


def test_a_step_in_parts_keeps_its_state_in_the_buffer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    flags = ("--stream", "variable", "--fuse", "--split", "7KiB", "--plan", "--count", 2)
    report = document(capsys, FRONT, "-o", out, *flags)
    assert report["proof"]["equal"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["buffer_bytes"] <= 7 * 1024
    (state,) = manifest["states"]
    assert (state["bytes"], state["initial_byte"]) == (384, 4)
    assert "Reset()" in (out / "split.h").read_text()
