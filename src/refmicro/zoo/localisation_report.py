"""The table of localisation models: rightness over seeds, memory, work, beside the paper's columns.

Every figure is measured in the run but the columns marked as the paper's. Memory and work are those
of the integer model that was trained with rounding, first seed: no byte of the arena depends on
what was learnt.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from refmicro import __version__, bridge
from refmicro._files import write_files
from refmicro.compare import check_model
from refmicro.errors import RefmicroError
from refmicro.estimator import estimate
from refmicro.model.graph import Model
from refmicro.types import TFLM_WHEEL
from refmicro.zoo import localisation, localisation_page, localisation_pictures
from refmicro.zoo.localisation import (
    INTEGER_STAGES,
    Prepared,
    Result,
    Rightness,
    Trained,
    answers,
    export,
    integer_scores,
    model_inputs,
    raw_scores,
    stage_answers,
)
from refmicro.zoo.localisation_training import (
    Fit,
    ModelConfig,
    calibrated,
    family_of,
    float_scores,
    initial_fit,
)
from refmicro.zoo.rssi_data import HOP_STEPS, Windows
from refmicro.zoo.training import Progress, Say

SIZES = (
    *("mdcsa-4-1", "mdcsa-8-1", "mdcsa-32-1", "mdcsa-8-3", "mdcsa-16-3"),
    *("mamba-4-1", "mamba-16-1", "mamba-32-1", "mamba-16-2"),
)
"""Models of which memory alone is given."""

LIMITS_KIB = (64, 32, 16)
"""RAM of microcontrollers that a model may fit, KiB."""

PLAYED_WINDOWS = 40
"""Windows of the test part that TFLM plays for each integer model."""

PUBLISHED = {
    ("A", "mdcsa-16-1"): (10588, 84.20, 64, 84.36, 44, 83.15, 43, 82.84, 82.86),
    ("A", "mdcsa-8-1"): (2812, 83.33, 27, 83.89, 26, 84.76, 25, 76.93, 76.88),
    ("A", "mamba-32-1"): (10392, 82.71, 47, 79.05, 26, 82.18, 25, 77.27, 77.32),
    ("A", "mamba-8-1"): (1432, 80.49, 12, 79.41, 12, 80.46, 12, 82.73, 82.95),
    ("B", "mdcsa-16-1"): (10874, 74.14, 65, 73.84, 44, 74.11, 43, 74.56, 73.98),
    ("B", "mdcsa-8-1"): (3018, 67.52, 28, 67.75, 26, 67.11, 25, 69.12, 69.19),
    ("B", "mamba-16-2"): (7263, 72.09, 38, 70.27, 29, 70.71, 28, 71.33, 71.24),
    ("B", "mamba-8-1"): (1631, 72.28, 12, 72.71, 13, 71.73, 13, 72.73, 72.79),
    ("C", "mdcsa-16-1"): (10796, 83.42, 65, 83.44, 44, 83.64, 43, 83.38, 83.22),
    ("C", "mdcsa-8-1"): (2956, 72.91, 28, 73.20, 26, 73.17, 25, 78.13, 78.51),
    ("C", "mamba-32-1"): (10723, 79.12, 49, 79.14, 26, 75.46, 25, 77.64, 77.75),
    ("C", "mamba-8-1"): (1571, 78.64, 12, 78.59, 13, 77.06, 13, 80.60, 77.96),
    ("D", "mdcsa-16-1"): (10834, 75.68, 65, 75.68, 44, 75.71, 43, 74.74, 74.82),
    ("D", "mdcsa-8-1"): (2986, 63.78, 28, 63.55, 26, 64.10, 25, 66.13, 66.04),
    ("D", "mamba-32-1"): (10776, 71.85, 49, 72.33, 26, 69.89, 25, 71.05, 70.98),
    ("D", "mamba-16-1"): (3848, 72.38, 21, 73.17, 16, 70.03, 16, 72.00, 71.96),
}
"""The paper's, by home and model: parameters, F1 % and KB of float32, LLM.int8, dynamic int8, and
F1 % of KD and of KD with LLM.int8 (Suwannaphong et al., Scientific Reports 15:10081, 2025)."""

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(values: list[float]) -> dict[str, float | None]:
    """Mean and the half width of Student's 95 % interval over seeds; None for one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "half": None}
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "half": _T_975[len(values) - 2] * spread}


def write_report(result: Result, folder: Path, *, say: Say, progress: Progress) -> dict[str, Any]:
    """Measure everything and write `localisation.md`, `.json` and the pictures to `folder`.

    Returns:
        The JSON document.

    Raises:
        EnvironmentMissingError: the real TFLM is not here.
    """
    bridge.require()
    rows = []
    confusions: dict[str, Any] = {}
    for home, models in result.trained.items():
        prepared = result.prepared[home]
        for name, trained in models.items():
            row = _row(result, home, trained, progress)
            rows.append(row)
            best = row["stages"]["kd_qat"]["f1"]["mean"]
            say(f"{home} {name}: {row['memory']['int8']['required_bytes']} B, F1 {100 * best:.1f}")
            fit = trained.fits["qat"][0]
            found = stage_answers(fit, "qat", prepared.test)
            confusions[f"{home} {name}"] = _confusion(found, prepared)
    document = {
        "schema_version": 1,
        "refmicro": __version__,
        "tflm": TFLM_WHEEL,
        "configuration": json.loads(result.config.text()) | {"seeds": result.config.seeds},
        "simulated": [home for home in result.trained if not _public(result, home)],
        "sites": {
            home: _site(ready, result.teachers[home]) for home, ready in result.prepared.items()
        },
        "rows": rows,
        "sizes": _sizes(result),
        "confusions": confusions,
        "limits_kib": LIMITS_KIB,
    }
    write_files(
        {
            folder / "localisation.json": (json.dumps(document, indent=1) + "\n").encode(),
            folder / "localisation.md": localisation_page.markdown(document).encode(),
            **localisation_pictures.pictures(document, result, folder),
        }
    )
    return document


def _sizes(result: Result) -> list[dict[str, Any]]:
    """Memory of other widths and depths at the last home; weights are untrained."""
    home = next((h for h in reversed(result.trained) if h != localisation.BUILDING), None)
    if home is None:
        return []
    site = result.prepared[home].site
    rows = []
    for name in SIZES:
        config = localisation.model_config(name, site)
        fit = initial_fit(config, 0, with_crf=False)
        recorded = calibrated(fit, result.prepared[home].training, 0)
        module = family_of(config).module
        row = {"home": home, "model": name, "parameters": module.parameter_count(config)}
        rows.append(row | {"memory": _memory(export(recorded))})
    return rows


def _public(result: Result, home: str) -> bool:
    is_building = home == localisation.BUILDING
    return (result.config.uji if is_building else result.config.data) is not None


def _site(prepared: Prepared, teacher: Fit) -> dict[str, Any]:
    site = prepared.site
    scores, _ = float_scores(teacher, prepared.test.strengths)
    rightness = Rightness.of(answers(teacher, scores), prepared.test.labels[:, -1])
    parts = ("training", "validation", "test")
    return {
        "access_points": site.access_points,
        "classes": list(site.classes),
        "windows": {part: len(getattr(prepared, part)) for part in parts},
        "faults": site.faults.counts(),
        "fault_lines": site.faults.lines(whole_paths=False),
        "teacher": dataclasses.asdict(rightness),
    }


def _confusion(found: np.ndarray, prepared: Prepared) -> list[list[int]]:
    count = len(prepared.site.classes)
    table = np.zeros((count, count), int)
    np.add.at(table, (prepared.test.labels[:, -1], found), 1)
    return table.tolist()


def _row(result: Result, home: str, trained: Trained, progress: Progress) -> dict[str, Any]:
    """One model at one home: every stage and seed, memory, agreement with TFLM."""
    prepared = result.prepared[home]
    truth = prepared.test.labels[:, -1]
    module = family_of(trained.config).module
    stages: dict[str, Any] = {}
    for stage, fits in trained.fits.items():
        found = []
        for seed, fit in enumerate(fits):
            found.append(Rightness.of(stage_answers(fit, stage, prepared.test), truth))
            progress(f"{home} {trained.model} {stage}", seed + 1, len(fits))
        stages[stage] = _over_seeds(found)
    wide = []
    for fit in trained.fits["ptq"]:
        scores = integer_scores(export(fit, 16), fit.config, prepared.test.strengths)
        wide.append(Rightness.of(answers(fit, scores), truth))
    stages["ptq_int16x8"] = _over_seeds(wide)
    first = {stage: trained.fits[stage][0] for stage in INTEGER_STAGES}
    models = {stage: export(fit) for stage, fit in first.items()}
    memory = {"int8": _memory(models["qat"])}
    memory |= {
        name: _memory(export(first["qat"], bits))
        for name, bits in (("int16x8", 16), ("float32", 32))
    }
    proof = {stage: _proof(model, trained.config, prepared.test) for stage, model in models.items()}
    proof["int16x8"] = _proof(export(first["ptq"], 16), trained.config, prepared.test)
    row = {
        "home": home,
        "model": trained.model,
        "parameters": module.parameter_count(trained.config),
        "reached_parameters": module.reached_count(trained.config),
        "steps": trained.config.steps,
        "stages": stages,
        "memory": memory,
        "proof": proof,
        "emitted": _emitted(models["qat"]),
    }
    if family_of(trained.config).streams and trained.config.steps > 1:
        row["stream"] = dataclasses.asdict(_stream(first["qat"], models["qat"], prepared))
    published = PUBLISHED.get((home, trained.model))
    return row | ({"published": published} if published else {})


def _over_seeds(found: list[Rightness]) -> dict[str, Any]:
    return {
        "f1": interval([one.f1 for one in found]),
        "accuracy": interval([one.accuracy for one in found]),
        "seeds": [dataclasses.asdict(one) for one in found],
    }


def _memory(model: Model) -> dict[str, Any]:
    counted = estimate(model, abi="ilp32")
    arena, flash = counted.arena, len(model.source or b"")
    required = arena["required_bytes"]
    return {
        "used_bytes": arena["used_bytes"],
        "required_bytes": required,
        "flash_bytes": flash,
        "macs": counted.macs,
        "operators": model.operator_count,
        "fits_ram_kib": [limit for limit in LIMITS_KIB if required <= limit << 10],
        "fits_ram_and_flash_kib": [
            limit for limit in LIMITS_KIB if required + flash <= limit << 10
        ],
    }


def _emitted(model: Model) -> dict[str, Any]:
    """RAM of the C that `refmicro emit` makes, or why there is none."""
    from refmicro.emit.emitter import emit

    try:
        made = emit(model, "cortex-m4", name="localisation")
    except RefmicroError as refusal:
        return {"refused": refusal.message}
    return {
        "ram_bytes": made.ram_bytes,
        "constant_bytes": sum(made.constant_bytes.values()),
    }


def _proof(model: Model, config: ModelConfig, part: Windows) -> dict[str, Any]:
    """`refmicro check`, and windows of the test part played by TFLM, bytes compared."""
    checked = check_model(model, "localisation", count=2)
    chosen = part.strengths[:: max(1, len(part) // PLAYED_WINDOWS)][:PLAYED_WINDOWS]
    mine = raw_scores(model, config, chosen)
    theirs = []
    with bridge.Oracle(model.source) as oracle:
        for window in model_inputs(model, chosen):
            oracle.reset()
            if family_of(config).streams:
                outputs = []
                for sample in window:
                    oracle.set_input(sample[None], 0)
                    oracle.invoke()
                    outputs.append(oracle.get_output(0)[0])
                theirs.append(np.array(outputs))
            else:
                oracle.set_input(window[None, None], 0)
                oracle.invoke()
                theirs.append(oracle.get_output(0)[0, 0])
    return {
        "check_equal": checked.equal,
        "played_equal": mine.tobytes() == np.array(theirs).tobytes(),
        "windows": len(chosen),
    }


def _stream(fit: Fit, model: Model, prepared: Prepared) -> Rightness:
    """The step model over whole recordings, never reset, judged at the same samples.

    Recordings are streams side by side, as long as the shortest of them.
    """
    recordings = prepared.site.test
    count = min(len(recording.labels) for recording in recordings)
    strengths = np.array([prepared.scaler(r.strengths[:count]) for r in recordings])
    scores = integer_scores(model, fit.config, strengths)
    found, truth = [], []
    steps = prepared.site.steps
    for stream, recording in zip(scores, recordings, strict=True):
        for start in range(0, count - steps + 1, HOP_STEPS):
            labels = recording.labels[start : start + steps]
            if (labels >= 0).all():
                found.append(stream[start : start + steps])
                truth.append(labels[-1])
    return Rightness.of(answers(fit, np.array(found)), np.array(truth))
