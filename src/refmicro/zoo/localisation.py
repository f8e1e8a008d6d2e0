"""From signal strengths to integer localisation models: data, training, export, evaluation.

A run lives in a folder: each trained stage is a file there, written whole, and is not trained again
by a later run of the same settings. Everything random comes from seeds.

The answer to a window is the room at its last sample: the last class of the best path through the
CRF, or without one the class with the largest score.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refmicro._files import npz_bytes, read_npz, write_files
from refmicro.errors import UsageError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.types import DType
from refmicro.zoo import rssi_simulator
from refmicro.zoo.localisation_training import (
    FAMILIES,
    Distillation,
    Fit,
    ModelConfig,
    Schedule,
    Trainer,
    calibrated,
    decoded,
    family_of,
    float_scores,
    initial_fit,
    teacher_of,
)
from refmicro.zoo.mdcsa import MdcsaConfig
from refmicro.zoo.mdcsa_integer import require_width
from refmicro.zoo.rssi_data import Scaler, Site, Windows, windows
from refmicro.zoo.rssi_home import read_home
from refmicro.zoo.rssi_uji import read_uji

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]

HOMES = ("A", "B", "C", "D")
BUILDING = "UJI"
DEFAULT_MODELS = ("mdcsa-16-1", "mamba-8-1")
STAGES = ("float", "ptq", "qat", "kd_paper", "kd_mixed", "kd_qat")
"""float; int8 calibrated; int8 trained with rounding; two distilled; distilled with rounding."""

INTEGER_STAGES = ("ptq", "qat", "kd_qat")
_VALIDATION_BLOCK = 4


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Attributes:
        homes: `A` to `D` and `UJI`.
        models: FAMILY-HIDDEN-LAYERS.
        data, uji: folders of the public sets; what is None is simulated.
        uji_label: the class of the building's samples.
        seeds: how many trainings of each stage.
        with_crf: whether a CRF is trained and decodes.
        teacher: FAMILY-HIDDEN-LAYERS.
        float_schedule, teacher_schedule, mixed_schedule, qat_schedule: of the trainings.
        simulation: of simulated data.
    """

    homes: tuple[str, ...] = HOMES
    models: tuple[str, ...] = DEFAULT_MODELS
    data: Path | None = None
    uji: Path | None = None
    uji_label: str = "floor"
    seeds: int = 3
    with_crf: bool = True
    teacher: str = "mdcsa-64-1"
    float_schedule: Schedule = field(default_factory=Schedule)
    teacher_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=40, rate=2e-3))
    mixed_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=40, rate=2e-3))
    qat_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20, rate=1e-3))
    simulation: rssi_simulator.Settings = field(default_factory=rssi_simulator.Settings)

    def text(self) -> str:
        """All that decides a stage of one model at one home, as JSON."""
        fields = dataclasses.asdict(self)
        for name in ("homes", "models", "seeds"):
            del fields[name]
        return json.dumps(fields, sort_keys=True, default=str)


@dataclass(frozen=True)
class Prepared:
    """A site cut into windows; `training` is three fourths of the fingerprints."""

    site: Site
    scaler: Scaler
    training: Windows
    validation: Windows
    test: Windows


@dataclass(frozen=True)
class Trained:
    """All stages of one model at one home: `fits[stage][seed]`."""

    model: str
    config: ModelConfig
    fits: dict[str, list[Fit]]


@dataclass(frozen=True)
class Result:
    """A finished run; `trained[home][model]`."""

    config: RunConfig
    folder: Path
    prepared: dict[str, Prepared]
    trained: dict[str, dict[str, Trained]]
    teachers: dict[str, Fit]


def default_folder(config: RunConfig) -> Path:
    """Where a run of these settings is kept."""
    from platformdirs import user_cache_dir

    key = zlib.crc32(config.text().encode())
    return Path(user_cache_dir("refmicro")) / "localisation" / f"{key:08x}"


def model_config(name: str, site: Site) -> ModelConfig:
    """Dimensions of FAMILY-HIDDEN-LAYERS at a site.

    Raises:
        UsageError: if the name is none.
    """
    family, *sizes = name.split("-")
    if family not in FAMILIES or len(sizes) != 2 or not all(size.isdigit() for size in sizes):
        raise UsageError(
            f"a model is FAMILY-HIDDEN-LAYERS: {name}",
            hint=f"families are {' and '.join(FAMILIES)}, as in mdcsa-16-1 or mamba-8-1",
        )
    hidden, layers = map(int, sizes)
    if family == "mdcsa" and layers not in (1, 3):
        raise UsageError(f"MDCSA has 1 or 3 layers: {name}")
    if not 1 <= hidden <= 256 or not 1 <= layers <= 8 or (family == "mdcsa" and hidden % 2):
        raise UsageError(f"dimensions are 1 to 256, even for MDCSA, and 1 to 8 layers: {name}")
    sizes_here = (site.access_points, len(site.classes), hidden, layers, site.steps)
    return FAMILIES[family].config(*sizes_here)


def load_site(config: RunConfig, name: str) -> Site:
    """Read one home or the building, simulated first where no folder is given."""
    from platformdirs import user_cache_dir

    key = zlib.crc32(repr(config.simulation).encode())
    cache = Path(user_cache_dir("refmicro")) / "localisation" / f"simulated-{key:08x}"
    if name == BUILDING:
        root = config.uji or cache / "uji"
        if config.uji is None and not (root / "validationData.csv").exists():
            rssi_simulator.simulate_building(root, config.simulation)
        return read_uji(root, config.uji_label)
    root = config.data or cache
    if config.data is None and not (root / "house_D" / "experiments").exists():
        rssi_simulator.simulate_homes(root, config.simulation)
    return read_home(root, name)


def prepare(site: Site) -> Prepared:
    """Windows of both parts, scaled by the training part; faults are in `site.faults`."""
    scaler = Scaler.of(site.train)
    known = windows(site.train, scaler, site)
    tested = windows(site.test, scaler, site)
    block = np.arange(len(known)) // _VALIDATION_BLOCK
    held = block % 4 == 3
    return Prepared(site, scaler, known.chosen(~held), known.chosen(held), tested)


def build(config: RunConfig, *, folder: Path | None = None, say: Say, progress: Progress) -> Result:
    """Train all stages of all models at all homes, or only what an earlier run left.

    Args:
        config: of the run.
        folder: of the run.
        say, progress: told about each home, model and epoch.

    Raises:
        UsageError: what the loaders and `model_config` refuse.
        UnsupportedError: a width that has no integer model.
        EnvironmentMissingError: no TensorFlow.
    """
    folder = folder or default_folder(config)
    result = Result(config, folder, {}, {}, {})
    for home in config.homes:
        prepared = prepare(load_site(config, home))
        for name in config.models:
            asked = model_config(name, prepared.site)
            if isinstance(asked, MdcsaConfig):
                require_width(asked.hidden)
        result.prepared[home] = prepared
        for line in prepared.site.faults.lines():
            say(f"  {line}")
        say(
            f"{home}: {len(prepared.training)} windows to train, {len(prepared.validation)} to "
            f"validate, {len(prepared.test)} to test"
        )
        run = _Run(config, folder, prepared, say, progress)
        result.teachers[home] = run.teacher()
        result.trained[home] = {name: run.model(name) for name in config.models}
    return result


@dataclass
class _Run:
    """Trains at one home; every stage is a file."""

    config: RunConfig
    folder: Path
    prepared: Prepared
    say: Say
    progress: Progress

    def teacher(self) -> Fit:
        """The teacher of this home."""
        config = model_config(self.config.teacher, self.prepared.site)

        def train() -> Fit:
            trainer = self.trainer(config, self.config.teacher_schedule, rounding=False)
            start = initial_fit(config, 0, with_crf=self.config.with_crf)
            return self.fitted(trainer, start, 0, f"teacher {self.config.teacher}")

        return self.kept(f"teacher-{self.config.teacher}", config, train)

    def trainer(self, config: ModelConfig, schedule: Schedule, *, rounding: bool) -> Trainer:
        with_crf = self.config.with_crf
        return Trainer(config, with_crf=with_crf, schedule=schedule, rounding=rounding)

    def fitted(self, trainer: Trainer, start: Fit, seed: int, what: str, **more: Any) -> Fit:
        what = f"{self.prepared.site.name} {what}"
        told = lambda done, total: self.progress(what, done, total)  # noqa: E731
        return trainer.fit(start, self.prepared.training, seed, progress=told, **more)

    def kept(self, name: str, config: ModelConfig, train: Callable[[], Fit]) -> Fit:
        """The stage from its file, or trained and written."""
        path = self.folder / f"{self.prepared.site.name}-{name}.npz"
        key = zlib.crc32((self.config.text() + repr(config)).encode())
        if path.exists():
            arrays = read_npz(path)
            record = json.loads(bytes(arrays.pop("record")))
            if record["key"] == key:
                grids = {name: _grid(values) for name, values in record["grids"].items()}
                return Fit(config, arrays, grids, self.config.with_crf)
        fit = train()
        grids = {n: [g.scale, g.zero_point, g.bits] for n, g in fit.grids.items()}
        text = np.frombuffer(json.dumps({"key": key, "grids": grids}).encode(), np.uint8)
        write_files({path: npz_bytes(fit.parameters | {"record": text})})
        return fit

    def model(self, name: str) -> Trained:
        """All stages of one model, for each seed."""
        config = model_config(name, self.prepared.site)
        plain = self.trainer(config, self.config.float_schedule, rounding=False)
        rounded = self.trainer(config, self.config.qat_schedule, rounding=True)
        teaches = teacher_of(self.teacher())
        further = {"schedule": self.config.mixed_schedule}
        fits: dict[str, list[Fit]] = {stage: [] for stage in STAGES}
        for seed in range(self.config.seeds):
            begin = initial_fit(config, seed, with_crf=self.config.with_crf)
            ready: dict[str, Fit] = {}

            def stage(
                stage: str,
                trainer: Trainer,
                start: Callable[[], Fit],
                kind: str,
                seed: int = seed,
                ready: dict[str, Fit] = ready,
                **more: Any,
            ) -> None:
                def train() -> Fit:
                    what = f"{name} {stage}, seed {seed}"
                    told = {"teacher": teaches, "distillation": Distillation(kind)} | more
                    return self.fitted(trainer, start(), seed, what, **told)

                ready[stage] = self.kept(f"{name}-{seed}-{stage}", config, train)

            def grids_of(stage: str, seed: int = seed, ready: dict[str, Fit] = ready) -> Fit:
                return calibrated(ready[stage], self.prepared.training, seed)

            stage("float", plain, lambda begin=begin: begin, "none")
            stage("kd_paper", plain, lambda begin=begin: begin, "paper")
            stage("kd_mixed", plain, lambda ready=ready: ready["float"], "mixed", **further)
            ready["ptq"] = grids_of("float")
            stage("qat", rounded, lambda ready=ready: ready["ptq"], "none")
            stage("kd_qat", rounded, lambda grids_of=grids_of: grids_of("kd_mixed"), "mixed")
            for done in STAGES:
                fits[done].append(ready[done])
        self.say(f"{self.prepared.site.name} {name}: trained")
        return Trained(name, config, fits)


def _grid(values: list[Any]) -> Any:
    from refmicro.zoo.quantise import Grid

    return Grid(float(values[0]), int(values[1]), int(values[2]))


def export(fit: Fit, bits: int = 8) -> Model:
    """The integer model of a stage; `bits` 16 is int16x8 on the same ranges, 32 float32."""
    return family_of(fit.config).export(fit.config, fit.parameters, fit.grids, bits=bits)


def model_inputs(model: Model, strengths: np.ndarray) -> np.ndarray:
    """Scaled windows (N, T, A) as the model's input wants them: int8, or float32."""
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    if tensor.dtype is DType.FLOAT32:
        return strengths.astype(np.float32)
    steps = np.round(strengths / np.float32(tensor.scale)) + tensor.zero_point
    return np.clip(steps, -128, 127).astype(np.int8)


def raw_scores(model: Model, config: ModelConfig, strengths: np.ndarray) -> np.ndarray:
    """What refmicro gives for windows (N, T, A): the output's numbers, (N, T, classes)."""
    inputs = model_inputs(model, strengths)
    interpreter = Interpreter(model)
    if family_of(config).streams:
        return interpreter.invoke_sequence([inputs[:, :, None]])[0][:, :, 0]
    return interpreter.invoke_batch([inputs[:, None, None]])[0][:, 0, 0]


def integer_scores(model: Model, config: ModelConfig, strengths: np.ndarray) -> np.ndarray:
    """The same as real numbers, float32."""
    raw = raw_scores(model, config, strengths)
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]]
    if tensor.dtype is DType.FLOAT32:
        return raw
    return ((raw.astype(np.float32) - tensor.zero_point) * tensor.scale).astype(np.float32)


def answers(fit: Fit, scores: np.ndarray) -> np.ndarray:
    """The room at the end of each window, int (N,)."""
    return decoded(fit, scores)[:, -1]


@dataclass(frozen=True)
class Rightness:
    """Macro F1 over the classes that occur in the truth, and accuracy, both 0 to 1."""

    f1: float
    accuracy: float

    @staticmethod
    def of(found: np.ndarray, truth: np.ndarray) -> Rightness:
        """From classes."""
        scores = []
        for one in np.unique(truth):
            both = int(((found == one) & (truth == one)).sum())
            scores.append(2 * both / (int((found == one).sum()) + int((truth == one).sum())))
        return Rightness(float(np.mean(scores)), float((found == truth).mean()))


def stage_answers(fit: Fit, stage: str, part: Windows) -> np.ndarray:
    """Answers of a stage: of the float model, or of its integer model in refmicro."""
    if stage in INTEGER_STAGES:
        return answers(fit, integer_scores(export(fit), fit.config, part.strengths))
    return answers(fit, float_scores(fit, part.strengths)[0])


def summary(result: Result) -> dict[str, Any]:
    """How right each stage of the first seed is on the test part; models are written."""
    rows = []
    files: dict[Path, bytes] = {}
    for home, models in result.trained.items():
        part = result.prepared[home].test
        truth = part.labels[:, -1]
        for name, trained in models.items():
            found = {}
            for stage, fits in trained.fits.items():
                rightness = Rightness.of(stage_answers(fits[0], stage, part), truth)
                found[stage] = dataclasses.asdict(rightness)
            for stage in INTEGER_STAGES:
                path = result.folder / f"{home}-{name}-{stage}.tflite"
                files[path] = export(trained.fits[stage][0]).source or b""
            rows.append(
                {
                    "home": home,
                    "model": name,
                    "parameters": family_of(trained.config).module.parameter_count(trained.config),
                    "test": found,
                    "files": {
                        stage: str(result.folder / f"{home}-{name}-{stage}.tflite")
                        for stage in INTEGER_STAGES
                    },
                }
            )
    write_files(files)
    faults = {home: ready.site.faults.counts() for home, ready in result.prepared.items()}
    return {"schema_version": 1, "rows": rows, "faults": faults}
