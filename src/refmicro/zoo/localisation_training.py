"""Training of the localisation models: float, distilled, and with the integer model's rounding.

An epoch is one compiled call: the tiny models would spend their time between calls otherwise.

Losses, task being the CRF's or cross entropy:

    none    task
    paper   a task + (1 - a) cross entropy with the teacher's path, a = 0.1
            (Suwannaphong et al. 2025)
    soft    a task + (1 - a) task with the teacher's shares at a temperature + b |P x - teacher's
            x|^2, x the rows before the last layer, of length 1, P learnt

The teacher's path is Viterbi's. Its shares are the CRF's marginals of its scores divided by the
temperature, so that the student learns paths, not scores that know nothing of their neighbours;
without a CRF they are softmax's.
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

DISTILLATIONS = ("none", "paper", "soft")
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
    soft_alpha: float = 0.4
    temperature: float = 2.0
    features: float = 0.3

    def weights(self) -> np.ndarray:
        """Of task, teacher's class, teacher's shares and features, float32."""
        parts = {
            "none": (1.0, 0.0, 0.0, 0.0),
            "paper": (self.alpha, 1 - self.alpha, 0.0, 0.0),
            "soft": (self.soft_alpha, 0.0, 1 - self.soft_alpha, self.features),
        }[self.kind]
        return np.array(parts, np.float32)


@dataclass(frozen=True)
class Fit:
    """Trained parameters, with those of the CRF if there is one, and grids where rounding ran."""

    config: ModelConfig
    parameters: dict[str, np.ndarray]
    grids: dict[str, Grid]
    crf: bool


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the training windows.

    Attributes:
        classes: its answers, int (N, T).
        shares: of each class at each step, float32 (N, T, classes).
        rows: before its last layer, float32 (N, T, width).
    """

    classes: np.ndarray
    shares: np.ndarray
    rows: np.ndarray


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
        teacher_width: of the rows of a `Lesson`.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        with_crf: bool,
        schedule: Schedule,
        rounding: bool,
        teacher_width: int = 1,
    ) -> None:
        self.config, self.with_crf, self.rounding = config, with_crf, rounding
        self.schedule, self.teacher_width = schedule, teacher_width
        self.epoch: Callable[..., Any] | None = None

    def fit(
        self,
        start: Fit,
        data: Windows,
        seed: int,
        lesson: Lesson | None = None,
        distillation: Distillation | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Fit:
        """Train from `start`; everything random comes from `seed` and the epoch.

        Raises:
            UsageError: if there are fewer windows than a batch.
        """
        tf = require_tensorflow()
        plan, distillation = self.schedule, distillation or Distillation()
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
        taught = _taught(lesson, data, self.config, self.teacher_width)
        trained["projection"] = _orthogonal(self.teacher_width, self.config.hidden, seed)
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
            strengths = _augmented(data.strengths[order], plan, rng)
            values, first, second = self.epoch(
                *(values, first, second, fixed, weights, tf.constant(strengths)),
                *(tf.constant(data.labels[order].astype(np.int32)),),
                *(tf.constant(part[order]) for part in taught),
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

        def loss(values: Any, fixed: Any, weights: Any, x: Any, *known: Any) -> Any:
            tap: Any = Float()
            if self.rounding:
                logs = {k[6:]: v for k, v in (values | fixed).items() if k.startswith("scale/")}
                tap = Rounding(grids, logs)
            found, last = forward(self.config, values, x, tap)
            return self._loss(values, weights, found, last, *known)

        @tf.function(jit_compile=True, autograph=False)
        def epoch(*given: Any) -> Any:
            values, first, second, fixed, weights, x, *known, rates, done = given

            def body(i: Any, values: Any, first: Any, second: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    found = loss(values, fixed, weights, x[i], *(part[i] for part in known))
                zero = tf.UnconnectedGradients.ZERO
                gradient = tape.gradient(found, values, unconnected_gradients=zero)
                step = done + tf.cast(i, tf.float32) + 1.0
                return i + 1, *self._adam(values, first, second, gradient, rates[i], step)

            start = (tf.constant(0), values, first, second)
            return tf.while_loop(lambda i, *_: i < x.shape[0], body, start)[1:]

        return epoch

    def _loss(self, values: Any, weights: Any, found: Any, last: Any, *known: Any) -> Any:
        """All four parts; `weights` says which count, so that one program serves all."""
        tf = require_tensorflow()
        y, classes, shares, rows = known
        entropy = tf.nn.softmax_cross_entropy_with_logits

        def task(chosen: Any) -> Any:
            if self.with_crf:
                return crf.loss(found, chosen, values)
            return tf.reduce_mean(entropy(chosen, found))

        count = self.config.classes
        ours = mdcsa.unit_rows(tf.matmul(last, values["projection"], transpose_b=True))
        parts = (
            task(tf.one_hot(y, count)),
            tf.reduce_mean(entropy(tf.one_hot(classes, count), found)),
            task(shares),
            tf.reduce_mean(tf.reduce_sum((ours - mdcsa.unit_rows(rows)) ** 2, -1)),
        )
        return tf.add_n([weights[i] * part for i, part in enumerate(parts)])

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


def _orthogonal(rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 71])
    square = rng.normal(size=(max(rows, columns), max(rows, columns)))
    return np.linalg.qr(square)[0][:rows, :columns].astype(np.float32)


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
    lesson: Lesson | None, data: Windows, config: ModelConfig, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, shares and rows; zeros where nobody teaches."""
    if lesson is not None:
        return lesson.classes.astype(np.int32), lesson.shares, lesson.rows
    shape = (len(data), config.steps)
    return (
        np.zeros(shape, np.int32),
        np.zeros((*shape, config.classes), np.float32),
        np.zeros((*shape, width), np.float32),
    )


def lesson_of(teacher: Fit, strengths: np.ndarray, temperature: float) -> Lesson:
    """What a teacher says of windows (N, T, access points)."""
    scores, rows = float_scores(teacher, strengths)
    cool = (scores / temperature).astype(np.float32)
    if teacher.crf:
        classes = crf.viterbi(scores, teacher.parameters)
        warm = {name: teacher.parameters[name] / temperature for name in crf.NAMES}
        return Lesson(classes, crf.marginals(cool, warm), rows)
    shares = np.exp(cool - cool.max(-1, keepdims=True))
    return Lesson(scores.argmax(-1), shares / shares.sum(-1, keepdims=True), rows)


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
