"""Training: an interrupted run ends like a whole one, checkpoints survive, the command reports."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from refmicro.cli.main import main
from refmicro.errors import UsageError
from refmicro.zoo.features import FeatureConfig
from refmicro.zoo.mamba import MambaConfig
from refmicro.zoo.speech_commands import NOISE_FOLDER, TEN_WORDS, read_corpus

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'refmicro[train]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'refmicro[train]'")

from refmicro.zoo import training  # noqa: E402

MODEL = MambaConfig(features=8, frames=11, d_model=8, d_state=4, dt_rank=2)
CONFIG = training.TrainConfig(
    model=MODEL,
    features=FeatureConfig("mfcc", 8, 3200, 1600),
    epochs=3,
    qat_epochs=1,
    batch=10,
    learning_rate=2e-2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten words that differ in pitch, by ten speakers a split."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"training": [], "validation": [], "testing": []}
    for number, word in enumerate(TEN_WORDS):
        for speaker in range(9):
            split = {6: "testing", 7: "testing", 8: "validation"}.get(speaker, "training")
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            time = np.arange(16000) / 16000
            tone = np.sin(2 * np.pi * 250 * 1.35**number * time) + 0.05 * rng.normal(size=16000)
            write(root / name, 8000 * tone)
            lists[split].append(name)
    for split in ("validation", "testing"):
        (root / f"{split}_list.txt").write_text("\n".join(lists[split]))
    write(root / NOISE_FOLDER / "white.wav", 500 * rng.normal(size=320000))
    return root


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.clip(samples, -32768, 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def data(corpus: Path) -> training.Data:
    return training.prepare_data(read_corpus(corpus), CONFIG, lambda *_: None)


def stage(folder: Path, data: training.Data, config: training.TrainConfig, said: list[str]):
    start = training.initial(config)
    return training.train_stage(
        folder, "float", data, config, start, {}, say=said.append, progress=lambda *_: None
    )


class Stopped(Exception):
    """What an interruption raises in these tests."""


def test_an_interrupted_run_ends_like_a_whole_one(
    tmp_path: Path, data: training.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stage(tmp_path / "whole", data, CONFIG, [])
    said: list[str] = []
    save = training._save
    saved: list[int] = []

    def save_and_stop(*args: object) -> None:
        save(*args)
        saved.append(len(args[3]))
        if len(saved) == 2:
            raise Stopped

    monkeypatch.setattr(training, "_save", save_and_stop)
    with pytest.raises(Stopped):
        stage(tmp_path / "cut", data, CONFIG, said)
    monkeypatch.setattr(training, "_save", save)
    said.clear()
    cut = stage(tmp_path / "cut", data, CONFIG, said)
    assert [text.split(":")[0] for text in said] == ["float epoch 3/3"]
    assert whole.history == cut.history
    for name, value in whole.parameters.items():
        assert value.tobytes() == cut.parameters[name].tobytes()


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, data: training.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, epochs=2)
    replace, done = os.replace, []

    def full(source: str, target: Path) -> None:
        if done:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UsageError, match="cannot write"):
        stage(tmp_path, data, config, [])
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["float.npz"]
    said: list[str] = []
    assert len(stage(tmp_path, data, config, said).history) == 2
    assert len(said) == 1


def test_another_configuration_is_refused(tmp_path: Path, data: training.Data) -> None:
    stage(tmp_path, data, dataclasses.replace(CONFIG, epochs=1), [])
    with pytest.raises(UsageError, match="another configuration"):
        stage(tmp_path, data, dataclasses.replace(CONFIG, epochs=1, seed=1), [])


@pytest.mark.oracle
def test_the_command(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from refmicro.zoo import report

    monkeypatch.setattr(report, "LARGER", ((2, 8, 11), (2, 8, 22)))
    (corpus / "yes" / "000000ff_nohash_0.wav").write_bytes(b"damaged")
    options = {
        "data": corpus,
        "output": tmp_path / "run",
        "report-folder": tmp_path / "report",
        "coefficients": 8,
        "hop-ms": 100,
        "d-model": 8,
        "d-state": 4,
        "dt-rank": 2,
        "epochs": 25,
        "qat-epochs": 2,
        "batch": 10,
        "learning-rate": 0.02,
    }
    line = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert main(["train", "kws-mamba", *line, "--report", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document == json.loads((tmp_path / "report" / "kws-mamba.json").read_text())
    assert "1 files are left out" in err
    assert "000000ff_nohash_0.wav" in document["corpus"]["left_out"][0]
    assert document["corpus"]["clips"] == {"training": 60, "validation": 10, "testing": 20}
    assert document["accuracy"]["float"]["share"] >= 0.9
    assert document["accuracy"]["qat"]["share"] >= 0.8
    rows = {row["name"]: row for row in document["strategies"]}
    assert len(rows) == len(report.STRATEGIES) + len(report.SOUND_STRATEGIES)
    other_numbers = ("int16", "float", "16-bit", "a scale a row", "sound")
    integers = [row for name, row in rows.items() if not any(t in name for t in other_numbers)]
    assert len(integers) == 9
    assert all(row["equal_to_tflm_qat"] and row["equal_to_tflm_ptq"] for row in integers)
    assert len({row["crc32_qat"] for row in integers}) == 1
    sounds = [row for name, row in rows.items() if "sound" in name]
    assert len({row["crc32_qat"] for row in sounds}) == 1
    assert all(row["equal_to_tflm_qat"] and row["equal_to_tflm_ptq"] for row in sounds)
    assert all(row["accuracy"]["qat"]["share"] > 0.5 for row in sounds)
    assert rows["unrolled and split"]["parts"] > 1
    assert rows["WHILE loop"]["operators_per_frame"] > rows["unrolled"]["operators_per_frame"]
    short, long = document["larger"]
    assert short["streaming"] == long["streaming"]
    assert short["unrolled"]["required_bytes"] < long["unrolled"]["required_bytes"]
    assert all(row["check_equal"] for row in rows.values())
    assert all(
        row["smallest_lp64_bytes"]["predicted"] == row["smallest_lp64_bytes"]["tried"]
        for row in rows.values()
    )
    # The same line again finds everything done.
    assert main(["train", "kws-mamba", *line[: 2 * 2], *line[6:]]) == 0
    out, err = capsys.readouterr()
    assert "epoch" not in err
    assert (tmp_path / "run" / "kws_mamba_qat.tflite").exists()
    assert (tmp_path / "run" / "tflm" / "kws_mamba_qat_sound.tflite").exists()
    page = (tmp_path / "report" / "kws-mamba.md").read_text()
    assert "| streaming, in place |" in page
    (corpus / "yes" / "000000ff_nohash_0.wav").unlink()


def test_wrong_arguments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "kws-mamba", "--layers", "0"]) == 2
    assert "--layers must be at least 1: 0" in capsys.readouterr().err
    assert main(["train", "kws-mamba", "--qat-epochs", "-1"]) == 2
    assert "--qat-epochs must be at least 0: -1" in capsys.readouterr().err
    assert main(["train", "kws-mamba", "--percentile", "101"]) == 2
    assert "--percentile must be between 50 and 100: 101" in capsys.readouterr().err
    assert main(["train", "kws-mamba", "--report", "--per-channel"]) == 2
    assert "a report compares widths and scales itself" in capsys.readouterr().err
    assert main(["train", "kws-mamba", "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
