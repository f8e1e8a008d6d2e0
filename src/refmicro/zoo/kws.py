"""From clips to models: data, float training, calibration, rounding-aware training, export."""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refmicro._files import write_files
from refmicro.model.graph import Model
from refmicro.zoo import mamba, synthesis, training
from refmicro.zoo.evaluate import Accuracy, run_in_refmicro
from refmicro.zoo.features import Normaliser
from refmicro.zoo.front_end import sound_model
from refmicro.zoo.speech_commands import read_corpus
from refmicro.zoo.streaming import StreamingOptions, streaming_model
from refmicro.zoo.training import Data, Progress, Say, TrainConfig, Trained


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        config: of the run.
        corpus: what the clips are, in words and numbers.
        data: features of validation and test.
        trained: the float stage; its `grids` are the calibrated ones.
        tuned: the stage with rounding; None where it was not asked for or has no integer form.
        models: integer streaming models by `ptq` and `qat`.
        folder: where checkpoints and models are.
    """

    config: TrainConfig
    corpus: dict[str, Any]
    data: Data
    trained: Trained
    tuned: Trained | None
    models: dict[str, Model]
    folder: Path


def default_folder(config: TrainConfig) -> Path:
    """Where a run of this configuration is kept."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("refmicro")) / "kws-mamba" / f"{zlib.crc32(_key(config)):08x}"


def _key(config: TrainConfig) -> bytes:
    return config.text().encode()


def build(
    config: TrainConfig,
    *,
    data: Path | None = None,
    speakers: int = 480,
    folder: Path | None = None,
    say: Say,
    progress: Progress,
) -> Result:
    """Do all steps, or only those that an earlier run of the same configuration left.

    Args:
        config: of the run.
        data: Speech Commands v2, unpacked; without it a corpus is synthesised and cached.
        speakers: of the synthesised corpus.
        folder: of the run.
        say, progress: told about each epoch and step.

    Raises:
        UsageError: what `read_corpus`, `load_split` and `train_stage` refuse.
        EnvironmentMissingError: no TensorFlow, or no speech engines.
    """
    training.require_tensorflow()
    folder = folder or default_folder(config)
    corpus, described = _corpus(data, speakers, progress)
    ready = training.prepare_data(corpus, config, progress)
    if ready.problems:
        say(f"{len(ready.problems)} files are left out:")
        for problem in ready.problems:
            say(f"  {problem}")
    described["left_out"] = [str(problem) for problem in ready.problems]
    described["clips"] = {"training": len(ready.labels)} | {
        name: len(labels) for name, labels in ready.truth.items()
    }
    trained = training.train_stage(
        *(folder, "float", ready, config, training.initial(config), {}), say=say, progress=progress
    )
    if config.model.discretisation != "sigmoid":
        return Result(config, described, ready, trained, None, {}, folder)
    grids = training.calibrate(config, trained.parameters, ready)
    trained = dataclasses.replace(trained, grids=grids)
    tuned = None
    if config.qat_epochs:
        tuned = training.train_stage(
            *(folder, "qat", ready, config, trained.parameters, grids), say=say, progress=progress
        )
    models = {"ptq": export(config, trained)}
    if tuned:
        models["qat"] = export(config, tuned)
    files = {f"kws_mamba_{name}": model for name, model in models.items()}
    if config.features.is_integer:
        for name, stage in (("ptq", trained), ("qat", tuned)):
            if stage:
                whole = export_sound(config, stage, ready.normaliser)
                files[f"kws_mamba_{name}_sound"] = whole
    write_files({folder / f"{name}.tflite": m.source or b"" for name, m in files.items()})
    return Result(config, described, ready, trained, tuned, models, folder)


def _corpus(data: Path | None, speakers: int, progress: Progress) -> tuple[Any, dict[str, Any]]:
    if data is not None:
        return read_corpus(data), {"name": f"Speech Commands layout in {data.name}"}
    settings = synthesis.Settings(speakers=speakers)
    root = synthesis.synthesise(synthesis.default_folder(settings), settings, progress=progress)
    described = json.loads((root / "corpus.json").read_text(encoding="utf-8"))
    described.pop("clips")
    return read_corpus(root), {"name": "synthesised by espeak-ng and flite"} | described


def export(config: TrainConfig, trained: Trained) -> Model:
    """The streaming model of a stage, the smallest form."""
    return streaming_model(config.model, trained.parameters, trained.grids, _options(config))


def _options(config: TrainConfig) -> StreamingOptions:
    calibration = config.calibration
    return StreamingOptions(
        state_bits=calibration.state_bits if calibration.state_bits != 8 else None,
        per_channel=calibration.per_channel,
    )


def export_sound(config: TrainConfig, trained: Trained, normaliser: Normaliser) -> Model:
    """The same behind TFLM's signal operators: samples in."""
    parameters, grids = trained.parameters, trained.grids
    return sound_model(
        config.model, config.features, parameters, grids, normaliser, _options(config)
    )


def float_answers(result: Result) -> np.ndarray:
    """The float model's class for each test clip, int."""
    tf = training.require_tensorflow()
    parameters = {name: tf.constant(value) for name, value in result.trained.parameters.items()}
    logits = training.evaluator(result.config, parameters)
    return logits(result.data.features["testing"]).argmax(-1)


def summary(result: Result) -> dict[str, Any]:
    """What was trained and how right it is on the test split, integer models by refmicro."""
    frames, truth = result.data.features["testing"], result.data.truth["testing"]
    answers = {"float": float_answers(result)}
    for name, model in result.models.items():
        answers[name] = run_in_refmicro(model, frames).argmax(-1)
    return {
        "schema_version": 1,
        "corpus": result.corpus,
        "parameters": mamba.parameter_count(result.config.model),
        "accuracy": {
            name: dataclasses.asdict(Accuracy.of(found == truth)) for name, found in answers.items()
        },
        "models": {n: str(result.folder / f"kws_mamba_{n}.tflite") for n in result.models},
    }
