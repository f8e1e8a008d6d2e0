"""Training of the keyword spotter: float, then with the integer model's rounding.

A run lives in a folder. After each epoch the checkpoint of the stage is replaced in one step, so
that an interrupted run goes on from the last epoch and a full disk leaves the last checkpoint
whole. Everything random comes from the seed and the epoch, never from what ran before.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refmicro._files import npz_bytes, read_npz, write_files
from refmicro.errors import EnvironmentMissingError, UsageError
from refmicro.zoo import mamba
from refmicro.zoo.features import FeatureConfig, Normaliser, extractor, normaliser_of
from refmicro.zoo.quantise import CalibrationConfig, Grid, Recorder, Rounding
from refmicro.zoo.speech_commands import (
    CLIP_SAMPLES,
    LABELS,
    SPLITS,
    Corpus,
    Problem,
    load_noises,
    load_split,
)

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]

STAGES = ("float", "qat")
_SHIFT_SAMPLES = 1600
_NOISE_SHARE = 0.7
CALIBRATION_CLIPS = 512


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run."""

    model: mamba.MambaConfig = field(default_factory=mamba.MambaConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    labels: str = "10"
    seed: int = 0
    epochs: int = 20
    qat_epochs: int = 6
    batch: int = 64
    learning_rate: float = 4e-3
    qat_learning_rate: float = 6e-4
    weight_decay: float = 0.05

    def text(self, stage: str = "qat") -> str:
        """All that decides a stage, as JSON, equal for equal configurations."""
        fields = asdict(self)
        if stage == "float":
            for name in ("calibration", "qat_epochs", "qat_learning_rate"):
                del fields[name]
        return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True)
class Data:
    """Sound of all splits, ready features of validation and test, and noise to mix in."""

    audio: np.ndarray
    labels: np.ndarray
    features: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    noises: tuple[np.ndarray, ...]
    normaliser: Normaliser
    problems: tuple[Problem, ...]
    sound: dict[str, np.ndarray]
    extract: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trained:
    """A stage's result: parameters, grids (empty after float training), history, seconds."""

    config: TrainConfig
    parameters: dict[str, np.ndarray]
    grids: dict[str, Grid]
    history: tuple[dict[str, float], ...]
    seconds: float


def require_tensorflow() -> Any:
    """TensorFlow, quiet.

    Raises:
        EnvironmentMissingError: if it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with _quiet():
            import tensorflow as tf
    except ImportError as error:
        raise EnvironmentMissingError(
            "training needs TensorFlow, which is not here", hint="pip install 'refmicro[train]'"
        ) from error
    return tf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow writes to stderr as it loads, before its log level counts."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def prepare_data(corpus: Corpus, config: TrainConfig, progress: Progress) -> Data:
    """Read all splits and compute the features of validation and test.

    Raises:
        UsageError: as `load_split`.
    """
    extract = extractor(config.features)
    splits = {}
    for number, name in enumerate(SPLITS):
        progress("reading clips", number, len(SPLITS))
        splits[name] = load_split(corpus, config.labels, name, seed=config.seed)
    train = splits["training"]
    noises, noise_problems = load_noises(corpus, "training")
    sample = _in_batches(extract, train.audio[:: max(1, len(train.audio) // 2000)])
    normaliser = normaliser_of(config.features, sample)
    features = {name: normaliser(_in_batches(extract, splits[name].audio)) for name in SPLITS[1:]}
    problems = [problem for split in splits.values() for problem in split.problems]
    unique = dict.fromkeys([*corpus.problems, *problems, *noise_problems])
    return Data(
        train.audio,
        train.labels,
        features,
        {name: splits[name].labels for name in SPLITS[1:]},
        tuple(noises),
        normaliser,
        tuple(unique),
        {name: splits[name].audio for name in SPLITS[1:]},
        extract,
    )


def _in_batches(call: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    return np.concatenate([call(array[i : i + 256]) for i in range(0, len(array), 256)])


def _augmented(data: Data, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clips shifted, louder or softer, and mixed with noise: int16 (len(chosen), 16000)."""
    sound = np.zeros((len(chosen), CLIP_SAMPLES), np.float32)
    for row, index in enumerate(chosen):
        shift = int(rng.integers(-_SHIFT_SAMPLES, _SHIFT_SAMPLES + 1))
        clip = data.audio[index]
        if shift >= 0:
            sound[row, shift:] = clip[: CLIP_SAMPLES - shift]
        else:
            sound[row, :shift] = clip[-shift:]
        if data.noises and rng.uniform() < _NOISE_SHARE:
            noise = data.noises[rng.integers(len(data.noises))]
            start = rng.integers(len(noise) - CLIP_SAMPLES + 1)
            sound[row] += noise[start : start + CLIP_SAMPLES] * rng.uniform(0, 0.5)
        sound[row] *= rng.uniform(0.6, 1.3)
    return np.clip(sound, -32768, 32767).astype(np.int16)


def _epoch(
    data: Data, config: TrainConfig, stage: str, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng([config.seed, 30, STAGES.index(stage), epoch])
    order = rng.permutation(len(data.labels))
    for start in range(0, len(order) - config.batch + 1, config.batch):
        chosen = order[start : start + config.batch]
        features = data.extract(_augmented(data, chosen, rng))
        yield data.normaliser(features), data.labels[chosen]


def train_stage(
    folder: Path,
    stage: str,
    data: Data,
    config: TrainConfig,
    start: dict[str, np.ndarray],
    grids: dict[str, Grid],
    *,
    say: Say,
    progress: Progress,
) -> Trained:
    """Train one stage, or go on where its checkpoint in `folder` stands.

    Args:
        folder: of the run.
        stage: `float`, or `qat` with the rounding of `grids` in place.
        data, config: of the run.
        start: parameters to begin with where there is no checkpoint.
        grids: of the activations, for `qat`.
        say: told a line after each epoch.
        progress: called after each step.

    Raises:
        UsageError: if the checkpoint is of another configuration, or cannot be written.
    """
    tf = require_tensorflow()
    qat = stage == "qat"
    epochs = config.qat_epochs if qat else config.epochs
    rate = config.qat_learning_rate if qat else config.learning_rate
    variables = {name: tf.Variable(value) for name, value in start.items()}
    scales = {name: tf.Variable(np.float32(np.log(grid.scale))) for name, grid in grids.items()}
    trained = list(variables.values()) + [
        value for name, value in scales.items() if name not in ("frame",)
    ]
    steps = len(data.labels) // config.batch
    if not steps:
        raise UsageError(
            f"the training split must hold a batch of {config.batch} clips: {len(data.labels)}"
        )
    kept = [*scales.values(), *_undecayed(variables)]
    optimizer = _optimizer(trained, kept, rate, config.weight_decay, steps, epochs)
    everything = {f"p/{k}": v for k, v in variables.items()}
    everything |= {f"s/{k}": v for k, v in scales.items()}
    everything |= {f"o/{i}": v for i, v in enumerate(optimizer.variables)}
    path = folder / f"{stage}.npz"
    history, seconds = _restore(path, everything, config, stage)
    step = _train_step(config, variables, scales, grids, trained, optimizer)
    evaluate = evaluator(config, variables, scales, grids)
    for epoch in range(len(history), epochs):
        began = time.monotonic()
        losses = []
        for number, (features, labels) in enumerate(_epoch(data, config, stage, epoch)):
            losses.append(step(tf.constant(features), tf.constant(labels)))
            progress(f"{stage} epoch {epoch + 1} of {epochs}", number + 1, steps)
        right = evaluate(data.features["validation"]).argmax(-1) == data.truth["validation"]
        seconds += time.monotonic() - began
        entry = {"loss": float(np.mean(losses)), "validation": float(right.mean())}
        history.append(entry)
        say(
            f"{stage} epoch {epoch + 1}/{epochs}: loss {entry['loss']:.4f}, validation "
            f"{100 * entry['validation']:.2f} %, {seconds:.0f} s"
        )
        arrays = {name: value.numpy() for name, value in everything.items()}
        _save(path, arrays, config.text(stage), history, seconds)
    final = {
        name: Grid(float(np.exp(scales[name].numpy())), grid.zero_point, grid.bits)
        for name, grid in grids.items()
    }
    parameters = {name: value.numpy() for name, value in variables.items()}
    return Trained(config, parameters, final, tuple(history), seconds)


def _optimizer(
    trained: list[Any], kept: list[Any], rate: float, decay: float, steps: int, epochs: int
) -> Any:
    """AdamW, an epoch of warming up, then a cosine; weight decay leaves `kept` alone."""
    keras = require_tensorflow().keras
    schedule = keras.optimizers.schedules.CosineDecay(
        0.05 * rate, max(1, steps * epochs - steps), warmup_target=rate, warmup_steps=steps
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(kept)
    optimizer.build(trained)
    return optimizer


def _undecayed(variables: dict[str, Any]) -> list[Any]:
    """What weight decay would pull to a value without meaning: biases, A and D, as in Mamba."""
    kept = ("bias", "a_log", ".d")
    return [value for name, value in variables.items() if name.endswith(kept)]


def _train_step(
    config: TrainConfig,
    variables: dict[str, Any],
    scales: dict[str, Any],
    grids: dict[str, Grid],
    trained: list[Any],
    optimizer: Any,
) -> Callable[[Any, Any], Any]:
    tf = require_tensorflow()

    @tf.function(jit_compile=True)
    def gradients(features: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tap = _tap(config, grids, scales)
            logits = tf.reduce_mean(mamba.forward(config.model, variables, features, tap), 1)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return loss, tape.gradient(
            loss, trained, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    @tf.function
    def update(found: Any) -> None:
        optimizer.apply_gradients(zip(found, trained, strict=True))

    def step(features: Any, labels: Any) -> float:
        loss, found = gradients(features, labels)
        update(found)
        return float(loss)

    return step


def _tap(config: TrainConfig, grids: dict[str, Grid] | None, scales: Any) -> mamba.Tap:
    """Rounding to grids, or none where there are none."""
    if not grids:
        return mamba.Float()
    return Rounding(grids, scales, per_channel=config.calibration.per_channel)


def evaluator(
    config: TrainConfig,
    parameters: dict[str, Any],
    scales: dict[str, Any] | None = None,
    grids: dict[str, Grid] | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from normalised features (N, T, F) to float32 logits (N, classes)."""
    tf = require_tensorflow()

    @tf.function(jit_compile=True)
    def logits(features: Any) -> Any:
        tap = _tap(config, grids, scales)
        return tf.reduce_mean(mamba.forward(config.model, parameters, features, tap), 1)

    def call(features: np.ndarray) -> np.ndarray:
        size = 128
        found = []
        for start in range(0, len(features), size):
            part = features[start : start + size]
            # One compiled shape for all batches.
            whole = np.zeros((size, *part.shape[1:]), np.float32)
            whole[: len(part)] = part
            found.append(logits(tf.constant(whole)).numpy()[: len(part)])
        return np.concatenate(found)

    return call


def calibrate(
    config: TrainConfig,
    parameters: dict[str, np.ndarray],
    data: Data,
    calibration: CalibrationConfig | None = None,
) -> dict[str, Grid]:
    """Grids of all activations, from clips of the training split."""
    tf = require_tensorflow()
    rng = np.random.default_rng([config.seed, 40])
    count = min(CALIBRATION_CLIPS, len(data.labels))
    chosen = rng.choice(len(data.labels), count, replace=False)
    recorder = Recorder(config.seed)
    tensors = {name: tf.constant(value) for name, value in parameters.items()}
    for start in range(0, count, 64):
        features = data.normaliser(data.extract(data.audio[chosen[start : start + 64]]))
        mamba.forward(config.model, tensors, tf.constant(features), recorder)
    return recorder.grids(calibration or config.calibration)


def initial(config: TrainConfig) -> dict[str, np.ndarray]:
    """The parameters that float training begins with."""
    return mamba.initial_parameters(config.model, config.seed)


def class_names(config: TrainConfig) -> tuple[str, ...]:
    """Names of the classes, by index."""
    return LABELS[config.labels]


def _save(
    path: Path,
    arrays: dict[str, np.ndarray],
    config: str,
    history: list[dict[str, float]],
    seconds: float,
) -> None:
    record = {"config": config, "history": history, "seconds": seconds}
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)
    write_files({path: npz_bytes(arrays | {"record": text})})


def _restore(
    path: Path, everything: dict[str, Any], config: TrainConfig, stage: str
) -> tuple[list[dict[str, float]], float]:
    """Put a checkpoint's values into the variables; history and seconds so far."""
    if not path.exists():
        return [], 0.0
    arrays = read_npz(path)
    record = json.loads(bytes(arrays.pop("record", np.zeros(0, np.uint8))) or b"{}")
    if record.get("config") != config.text(stage) or arrays.keys() != everything.keys():
        raise UsageError(
            f"the checkpoint is of another configuration: {path}",
            hint="name another folder with --output, or remove this one",
        )
    for name, value in everything.items():
        value.assign(arrays[name].reshape(value.shape))
    return record["history"], record["seconds"]
