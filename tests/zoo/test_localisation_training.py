"""Training: losses, stages kept in files, the command and its report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from refmicro.cli.main import main
from refmicro.errors import UsageError
from refmicro.zoo import crf
from refmicro.zoo.quantise import Grid
from refmicro.zoo.rssi_data import Windows
from refmicro.zoo.rssi_simulator import Settings, simulate_homes

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'refmicro[train]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'refmicro[train]'")

from refmicro.zoo import localisation, localisation_training  # noqa: E402
from refmicro.zoo.localisation import Rightness, RunConfig, export, integer_scores  # noqa: E402
from refmicro.zoo.localisation_training import (  # noqa: E402
    Distillation,
    Schedule,
    Trainer,
    calibrated,
    float_scores,
    initial_fit,
)
from refmicro.zoo.mdcsa import MdcsaConfig  # noqa: E402
from refmicro.zoo.rssi_mamba import RssiMambaConfig  # noqa: E402

SMALL = Settings(tag_s=2.0, living_s=60.0, livings=1, building_rows=60, building_tests=12)
MODELS = [MdcsaConfig(3, 3, 8, 1, steps=4), RssiMambaConfig(3, 3, 8, 1, steps=4)]


def told() -> dict[str, object]:
    """Nobody listens."""
    return {"say": lambda text: None, "progress": lambda what, done, total: None}


def easy(count: int = 96) -> Windows:
    """The strongest access point is the room; rooms change within a window."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (count, 4))
    labels[:, 2:] = labels[:, 2:3]
    labels[:, :2] = labels[:, :1]
    strengths = 0.15 + 0.1 * rng.uniform(size=(count, 4, 3))
    strengths += 0.6 * np.eye(3)[labels]
    return Windows(strengths.astype(np.float32), labels, np.zeros((count, 2), np.float32))


def test_crf_loss_is_minus_the_log_of_the_paths_share() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(2, 3, 2)).astype(np.float32)
    parameters = {
        name: rng.normal(size=value.shape).astype(np.float32)
        for name, value in crf.initial_parameters(2, 0).items()
    }
    labels = np.array([[0, 1, 1], [1, 0, 1]])

    def total(row: np.ndarray, path: tuple[int, ...]) -> float:
        value = float(parameters["crf_start"][path[0]] + parameters["crf_end"][path[-1]])
        value += sum(float(row[i, one]) for i, one in enumerate(path))
        return value + sum(float(parameters["crf"][path[i], path[i + 1]]) for i in range(2))

    want = 0.0
    for row, path in zip(scores, labels, strict=True):
        every = [total(row, other) for other in np.ndindex(2, 2, 2)]
        want += np.log(np.exp(every).sum()) - total(row, tuple(path))
    found = crf.loss(tf.constant(scores), tf.one_hot(labels, 2), parameters)
    assert float(found) == pytest.approx(want / 2 / 3, rel=1e-5)


@pytest.mark.parametrize("config", MODELS, ids=["mdcsa", "mamba"])
def test_float_rounding_and_integer_models_agree(config: MdcsaConfig | RssiMambaConfig) -> None:
    data = easy()
    truth = data.labels[:, -1]
    plan = Schedule(epochs=40, batch=16, rate=2e-2)
    trainer = Trainer(config, with_crf=True, schedule=plan, rounding=False)
    fit = trainer.fit(initial_fit(config, 0, with_crf=True), data, 0)
    scores, rows = float_scores(fit, data.strengths)
    assert Rightness.of(localisation.answers(fit, scores), truth).accuracy > 0.95
    again = trainer.fit(initial_fit(config, 0, with_crf=True), data, 0)
    assert all(np.array_equal(fit.parameters[n], again.parameters[n]) for n in fit.parameters)
    assert rows.shape == (*data.labels.shape, config.hidden)

    ready = calibrated(fit, data, 0)
    short = dataclasses.replace(plan, epochs=4, rate=1e-3)
    rounded = Trainer(config, with_crf=True, schedule=short, rounding=True).fit(ready, data, 0)
    assert rounded.grids["logits"] != ready.grids["logits"]
    assert rounded.grids["frame"] == ready.grids["frame"]
    model = export(rounded)
    found = integer_scores(model, config, data.strengths)
    assert Rightness.of(localisation.answers(rounded, found), truth).accuracy > 0.9
    # The simulation of the rounding differs from TFLM where TFLM rounds twice, in single units.
    simulated = simulate_rounding(rounded, data.strengths)
    units = np.abs(found - simulated) / rounded.grids["logits"].scale
    assert np.mean(units) < 2
    wide = integer_scores(export(rounded, 16), config, data.strengths)
    assert np.abs(wide - scores).mean() < np.abs(found - scores).mean() * 2
    exact = integer_scores(export(rounded, 32), config, data.strengths)
    same = float_scores(rounded, data.strengths)[0]
    assert np.abs(exact - same).max() < 1e-3 * np.abs(same).max()


def simulate_rounding(fit: localisation_training.Fit, strengths: np.ndarray) -> np.ndarray:
    """What training with rounding computes."""
    from refmicro.zoo.quantise import Rounding

    logs = {name: tf.constant(np.float32(np.log(g.scale))) for name, g in fit.grids.items()}
    forward = localisation_training.family_of(fit.config).module.forward
    parameters = {name: tf.constant(value) for name, value in fit.parameters.items()}
    return forward(fit.config, parameters, tf.constant(strengths), Rounding(fit.grids, logs))[
        0
    ].numpy()


def test_distillation_follows_the_teacher_not_the_labels() -> None:
    config = MODELS[0]
    data = easy()
    turned = (data.labels + 1) % 3

    def teacher(strengths: np.ndarray) -> np.ndarray:
        asked.append(len(strengths))
        return (strengths.argmax(-1) + 1) % 3

    plan = Schedule(epochs=40, batch=16, rate=2e-2)
    trainer = Trainer(config, with_crf=False, schedule=plan, rounding=False)
    for distillation in (Distillation("paper"), Distillation("mixed", mixed_share=1.0)):
        asked: list[int] = []
        start = initial_fit(config, 0, with_crf=False)
        fit = trainer.fit(start, data, 0, teacher, distillation)
        found = float_scores(fit, data.strengths)[0].argmax(-1)
        assert (found == turned).mean() > 0.9
        # Once about the windows as recorded, or in each epoch about what the student hears.
        assert asked == ([96] if distillation.kind == "paper" else [96] * plan.epochs)
    kept = trainer.fit(start, data, 0, teacher, Distillation("mixed", mixed_share=0.0))
    found = float_scores(kept, data.strengths)[0].argmax(-1)
    assert (found == data.labels).mean() > 0.9


def test_zero_points_are_the_same_in_all_models() -> None:
    moved = localisation_training._moved(Grid(0.02, -128), -104)
    assert moved.zero_point == -104
    low, high = ((limit - moved.zero_point) * moved.scale for limit in moved.limits)
    assert high >= 255 * 0.02 * 0.999
    assert low <= 0


def test_names_of_models() -> None:
    site = localisation.load_site(RunConfig(simulation=SMALL), "A")
    assert localisation.model_config("mamba-16-2", site).hidden == 16
    for name in ("gru-8-1", "mdcsa-16", "mdcsa-16-2", "mdcsa-7-1", "mamba-300-1", "mamba--1"):
        with pytest.raises(UsageError):
            localisation.model_config(name, site)


def test_macro_f1_is_over_classes_of_the_truth() -> None:
    found, truth = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    rightness = Rightness.of(found, truth)
    assert rightness.f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert rightness.accuracy == 0.5


def test_a_batch_must_be_there() -> None:
    trainer = Trainer(MODELS[0], with_crf=True, schedule=Schedule(batch=200), rounding=False)
    with pytest.raises(UsageError, match="a batch of 200 windows: 96"):
        trainer.fit(initial_fit(MODELS[0], 0, with_crf=True), easy(), 0)


@pytest.mark.oracle
def test_the_command_reports_and_keeps_its_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = simulate_homes(tmp_path / "homes", SMALL)
    quick = ["--epochs", "1", "--teacher-epochs", "1", "--qat-epochs", "1", "--seeds", "2"]
    quick += ["--mixed-epochs", "1"]
    where = ["--data", str(homes), "--output", str(tmp_path / "o")]
    small = ["--homes", "A", "--models", "mamba-2-1", "--teacher", "mdcsa-2-1", "--json"]
    report = ["--report", "--report-folder", str(tmp_path / "r")]
    # Packets of an access point that does not exist are named and counted.
    path = homes / "house_A/experiments/living_1/rx_wearable_data.dat"
    path.write_text(path.read_text() + "2017-03-02 09:30:00.000,77,1,-60\n")
    assert main(["train", "localisation", *quick, *where, *small, *report]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert "rx_wearable_data.dat" in said.err
    assert document["sites"]["A"]["faults"]["unknown access point"] == 1
    assert document["simulated"] == []
    assert [(row["home"], row["model"]) for row in document["rows"]] == [
        ("A", "mamba-2-1"),
    ]
    for row in document["rows"]:
        assert set(row["stages"]) == {*localisation.STAGES, "ptq_int16x8"}
        assert row["stages"]["qat"]["f1"]["half"] is not None
        assert all(proof["check_equal"] for proof in row["proof"].values())
        assert all(proof["played_equal"] for proof in row["proof"].values())
    assert "stream" in document["rows"][0]
    page = (tmp_path / "r/localisation.md").read_text()
    assert "4 of 4 integer models are equal to TFLM" in page
    for name in ("ram", "confusion", "path"):
        assert (tmp_path / f"r/localisation.{name}.png").read_bytes()[:4] == b"\x89PNG"

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "o").glob("*.npz")}
    assert main(["train", "localisation", *quick, *where, *small]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_widths_without_an_integer_model_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = simulate_homes(tmp_path, SMALL)
    arguments = ["--data", str(homes), "--output", str(tmp_path / "o"), "--models", "mdcsa-12-1"]
    assert main(["train", "localisation", *arguments]) == 3
    assert "power of 2" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--homes", "E"], ["--seeds", "0"], ["--epochs", "0"], ["--data", "nowhere"]],
    ids=" ".join,
)
def test_wrong_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "localisation", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
