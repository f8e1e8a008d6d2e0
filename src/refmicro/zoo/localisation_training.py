"""Training of the localisation models: float, distilled, and with the integer model's rounding.

An epoch is one compiled call: the tiny models would spend their time between calls otherwise.

Losses, task being the CRF's or cross entropy:

    none    task
    paper   a task + (1 - a) cross entropy with the teacher's path, a = 0.1
            (Suwannaphong et al. 2025)
    mixed   task, with the teacher's path for label where two windows were mixed

The teacher's path is Viterbi's. For `paper` it is that of each training window as it was recorded.
For `mixed` the teacher hears what the student hears: a share of an epoch's windows are weighted
means of two, all have the noise and losses of training, and the answers are to these very windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.errors import UsageError
from refmicro.model.graph import Model
from refmicro.zoo import crf, mdcsa, rssi_mamba
from refmicro.zoo.mamba import Float
from refmicro.zoo.mdcsa import MdcsaConfig
from refmicro.zoo.mdcsa_integer import mdcsa_model
from refmicro.zoo.quantise import CalibrationConfig, Grid, Recorder, Rounding
from refmicro.zoo.rssi_data import FRAME_GRID, Windows
from refmicro.zoo.rssi_mamba import RssiMambaConfig
from refmicro.zoo.training import require_tensorflow

DISTILLATIONS = ("none", "paper", "mixed")
CALIBRATION_WINDOWS = 512
_UNIT_GRID = Grid(1 / 128)

ZERO_POINTS = {"x": -104, "u": -104, "gate_silu": -104, "elu": -90}
"""Of what hardly goes below zero; the same in all models, so that one program trains them all."""

ModelConfig = MdcsaConfig | RssiMambaConfig


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        title: for tables.
        config: its dimensions' type.
        module: has `initial_parameters`, `parameter_count`, `reached_count`, `forward`.
        export: the integer model from dimensions, parameters and grids.
        streams: the model takes a sample, not a window.
        fixed: activations whose scale TFLM's kernels fix.
    """

    title: str
    config: type
    module: Any
    export: Callable[..., Model]
    streams: bool
    fixed: tuple[str, ...]


FAMILIES = {
    "mdcsa": Family("MDCSA", MdcsaConfig, mdcsa, mdcsa_model, False, mdcsa.FIXED_ACTIVATIONS),
    "mamba": Family("Mamba", RssiMambaConfig, rssi_mamba, rssi_mamba.step_model, True, ("n1",)),
}


def family_of(config: ModelConfig) -> Family:
    """The family that a configuration belongs to."""
    return next(item for item in FAMILIES.values() if isinstance(config, item.config))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int = 80
    batch: int = 32
    rate: float = 5e-3
    decay: float = 0.02
    noise: float = 0.02
    loss_share: float = 0.1


@dataclass(frozen=True)
class Distillation:
    """Which loss, and the numbers in it."""

    kind: str = "none"
    alpha: float = 0.1
    mixed_share: float = 0.5

    def weights(self) -> np.ndarray:
        """Of task and teacher's class, float32."""
        parts = {
            "none": (1.0, 0.0),
            "paper": (self.alpha, 1 - self.alpha),
            "mixed": (1.0, 0.0),
        }[self.kind]
        return np.array(parts, np.float32)


@dataclass(frozen=True)
class Fit:
    """Trained parameters, with those of the CRF if there is one, and grids where rounding ran."""

    config: ModelConfig
    parameters: dict[str, np.ndarray]
    grids: dict[str, Grid]
    crf: bool


Teacher = Callable[[np.ndarray], np.ndarray]
"""Its classes, int (N, T), for windows (N, T, access points)."""


def initial_fit(config: ModelConfig, seed: int, *, with_crf: bool) -> Fit:
    """Where float training begins."""
    parameters = family_of(config).module.initial_parameters(config, seed)
    if with_crf:
        parameters |= crf.initial_parameters(config.classes, seed)
    return Fit(config, parameters, {}, with_crf)


class Trainer:
    """Compiled epochs of one kind of training; `fit` runs them for any seed.

    Args:
        config: of the model.
        with_crf: whether the loss is the CRF's.
        schedule: how long; its batch is compiled in.
        rounding: whether to round as the integer model does.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        with_crf: bool,
        schedule: Schedule,
        rounding: bool,
    ) -> None:
        self.config, self.with_crf, self.rounding = config, with_crf, rounding
        self.schedule = schedule
        self.epoch: Callable[..., Any] | None = None

    def fit(
        self,
        start: Fit,
        data: Windows,
        seed: int,
        teacher: Teacher | None = None,
        distillation: Distillation | None = None,
        schedule: Schedule | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Fit:
        """Train from `start`; everything random comes from `seed` and the epoch.

        Args:
            start: where training begins.
            data: to train on.
            seed: of everything random.
            teacher: asked where `distillation` needs one.
            distillation: the loss; none by default.
            schedule: another than the trainer's, of the same batch and decay.
            progress: told about each epoch.

        Raises:
            UsageError: if there are fewer windows than a batch.
        """
        tf = require_tensorflow()
        plan, distillation = schedule or self.schedule, distillation or Distillation()
        if len(data) < plan.batch:
            raise UsageError(
                f"the training part must hold a batch of {plan.batch} windows: {len(data)}"
            )
        trained: dict[str, Any] = dict(start.parameters)
        fixed: dict[str, Any] = {}
        if self.rounding:
            for name, grid in start.grids.items():
                place = fixed if _is_fixed(self.config, name) else trained
                place[f"scale/{name}"] = np.float32(np.log(grid.scale))
        classes = np.zeros(data.labels.shape, np.int32)
        if teacher and distillation.kind == "paper":
            classes = teacher(data.strengths)
        if self.epoch is None:
            self.epoch = self._compiled(start.grids)
        values = {k: tf.constant(v) for k, v in trained.items()}
        first = second = {k: tf.zeros_like(v) for k, v in values.items()}
        count = len(data) // plan.batch
        weights = tf.constant(distillation.weights())
        for number in range(plan.epochs):
            rng = np.random.default_rng([seed, 70, int(self.rounding), number])
            order = rng.permutation(len(data))[: count * plan.batch].reshape(count, plan.batch)
            steps = np.arange(number * count, (number + 1) * count)
            rates = plan.rate * _rate(steps / max(1, plan.epochs * count))
            if teacher and distillation.kind == "mixed":
                shown = _taught(data, order, plan, distillation.mixed_share, teacher, rng)
            else:
                strengths = _augmented(data.strengths[order], plan, rng)
                shown = strengths, data.labels[order], classes[order]
            values, first, second = self.epoch(
                *(values, first, second, fixed, weights, *_tensors(*shown)),
                *(tf.constant(rates.astype(np.float32)), tf.constant(float(steps[0]))),
            )
            progress(number + 1, plan.epochs)
        return self._finished(start, {name: value.numpy() for name, value in values.items()})

    def _finished(self, start: Fit, values: dict[str, np.ndarray]) -> Fit:
        grids = {
            name: dataclasses.replace(grid, scale=float(np.exp(values[f"scale/{name}"])))
            if f"scale/{name}" in values
            else grid
            for name, grid in start.grids.items()
        }
        parameters = {name: values[name] for name in start.parameters}
        return Fit(self.config, parameters, grids, self.with_crf)

    def _compiled(self, grids: dict[str, Grid]) -> Callable[..., Any]:
        tf = require_tensorflow()
        forward = family_of(self.config).module.forward

        def loss(values: Any, fixed: Any, weights: Any, x: Any, y: Any, classes: Any) -> Any:
            tap: Any = Float()
            if self.rounding:
                logs = {k[6:]: v for k, v in (values | fixed).items() if k.startswith("scale/")}
                tap = Rounding(grids, logs)
            found, _ = forward(self.config, values, x, tap)
            return self._loss(values, weights, found, y, classes)

        @tf.function(jit_compile=True, autograph=False)
        def epoch(*given: Any) -> Any:
            values, first, second, fixed, weights, x, y, classes, rates, done = given

            def body(i: Any, values: Any, first: Any, second: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    found = loss(values, fixed, weights, x[i], y[i], classes[i])
                zero = tf.UnconnectedGradients.ZERO
                gradient = tape.gradient(found, values, unconnected_gradients=zero)
                step = done + tf.cast(i, tf.float32) + 1.0
                return i + 1, *self._adam(values, first, second, gradient, rates[i], step)

            start = (tf.constant(0), values, first, second)
            return tf.while_loop(lambda i, *_: i < x.shape[0], body, start)[1:]

        return epoch

    def _loss(self, values: Any, weights: Any, found: Any, y: Any, classes: Any) -> Any:
        """Both parts; `weights` says which count, so that one program serves all."""
        tf = require_tensorflow()
        entropy = tf.nn.softmax_cross_entropy_with_logits
        chosen, taught = (tf.one_hot(known, self.config.classes) for known in (y, classes))
        if self.with_crf:
            task = crf.loss(found, chosen, values)
        else:
            task = tf.reduce_mean(entropy(chosen, found))
        return weights[0] * task + weights[1] * tf.reduce_mean(entropy(taught, found))

    def _adam(
        self, values: Any, first: Any, second: Any, gradient: Any, rate: Any, step: Any
    ) -> Any:
        """AdamW by hand; gradients are cut at a norm of 1, scales and biases do not decay."""
        tf = require_tensorflow()
        names = list(values)
        cut = dict(
            zip(names, tf.clip_by_global_norm([gradient[n] for n in names], 1.0)[0], strict=True)
        )
        first = {n: 0.9 * first[n] + 0.1 * cut[n] for n in names}
        second = {n: 0.99 * second[n] + 0.01 * cut[n] ** 2 for n in names}
        found = {}
        for n in names:
            mean, square = first[n] / (1 - 0.9**step), second[n] / (1 - 0.99**step)
            decay = self.schedule.decay * values[n] if _decays(n) else 0.0
            speed = 0.2 if n.startswith("scale/") else 1.0
            change = mean / (tf.sqrt(square) + 1e-8)
            found[n] = values[n] - rate * speed * (change + decay)
        return found, first, second


def _decays(name: str) -> bool:
    kept = ("bias", "a_log", ".d", "norm", "norm1", "norm2", "norm3")
    return not name.endswith(kept) and not name.startswith(("scale/", "crf"))


def _is_fixed(config: ModelConfig, name: str) -> bool:
    return name == "frame" or name.split(".")[-1] in family_of(config).fixed


def _rate(share: np.ndarray) -> np.ndarray:
    """Up for a twentieth, then down a cosine."""
    return np.minimum(share / 0.05, 1) * (0.03 + 0.97 * (1 + np.cos(np.pi * share)) / 2)


def _augmented(strengths: np.ndarray, plan: Schedule, rng: np.random.Generator) -> np.ndarray:
    """Noise, and samples that no packet came for, as in days to come."""
    heard = strengths > 0
    # One offset for each access point of a window: bodies and furniture, not noise of a packet.
    shape = (*strengths.shape[:2], 1, strengths.shape[3])
    moved = (
        strengths
        + rng.normal(0, 2 * plan.noise, shape)
        + rng.normal(0, plan.noise, strengths.shape)
    )
    kept = heard & (rng.uniform(size=strengths.shape) >= plan.loss_share)
    return np.where(kept, np.clip(moved, 0, 1), 0).astype(np.float32)


def _taught(
    data: Windows,
    order: np.ndarray,
    plan: Schedule,
    share: float,
    teacher: Teacher,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of `order` (batches, batch), a share of them weighted means with another window.

    Returns:
        Strengths with noise; labels, the teacher's where windows were mixed; the teacher's.
    """
    mixed = rng.uniform(size=(*order.shape, 1)) < share
    other = data.strengths[rng.integers(len(data), size=order.shape)]
    weight = np.where(mixed, rng.uniform(size=mixed.shape), 1)[..., None].astype(np.float32)
    strengths = _augmented(weight * data.strengths[order] + (1 - weight) * other, plan, rng)
    labels = data.labels[order]
    classes = teacher(strengths.reshape(-1, *strengths.shape[2:])).reshape(labels.shape)
    return strengths, np.where(mixed, classes, labels), classes


def _tensors(*parts: np.ndarray) -> list[Any]:
    """Constants, integers as int32."""
    tf = require_tensorflow()
    return [tf.constant(p if p.dtype == np.float32 else p.astype(np.int32)) for p in parts]


def teacher_of(fit: Fit) -> Teacher:
    """A trained model that teaches."""

    def answer(strengths: np.ndarray) -> np.ndarray:
        return decoded(fit, float_scores(fit, strengths)[0])

    return answer


def decoded(fit: Fit, scores: np.ndarray) -> np.ndarray:
    """Classes at each step, int (N, T): Viterbi's with a CRF, else those of the largest scores."""
    return crf.viterbi(scores, fit.parameters) if fit.crf else scores.argmax(-1)


def float_scores(fit: Fit, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the float model says: scores (N, T, classes), and the rows before the last layer."""
    tf = require_tensorflow()
    parameters = {name: tf.constant(value) for name, value in fit.parameters.items()}
    forward = family_of(fit.config).module.forward
    scores, rows = [], []
    for start in range(0, len(strengths), 1024):
        found = forward(
            fit.config, parameters, tf.constant(strengths[start : start + 1024]), Float()
        )
        scores.append(found[0].numpy())
        rows.append(found[1].numpy())
    return np.concatenate(scores), np.concatenate(rows)


def calibrated(fit: Fit, data: Windows, seed: int, percentile: float = 99.95) -> Fit:
    """The fit with grids of all activations, from training windows."""
    tf = require_tensorflow()
    rng = np.random.default_rng([seed, 72])
    chosen = rng.choice(len(data), min(CALIBRATION_WINDOWS, len(data)), replace=False)
    recorder = Recorder(seed)
    parameters = {name: tf.constant(value) for name, value in fit.parameters.items()}
    forward = family_of(fit.config).module.forward
    forward(fit.config, parameters, tf.constant(data.strengths[chosen]), recorder)
    grids = recorder.grids(CalibrationConfig(percentile, percentile))
    for name in grids:
        if _is_fixed(fit.config, name):
            grids[name] = FRAME_GRID if name == "frame" else _UNIT_GRID
        elif name.split(".")[-1] in ZERO_POINTS:
            grids[name] = _moved(grids[name], ZERO_POINTS[name.split(".")[-1]])
    return dataclasses.replace(fit, grids=grids)


def _moved(grid: Grid, zero_point: int) -> Grid:
    """The range of a grid with another zero point."""
    low, high = (limit - grid.zero_point for limit in grid.limits)
    largest = max(high / (127 - zero_point), low / (-128 - zero_point))
    return Grid(float(np.float32(grid.scale * largest)), zero_point)
