"""The table of strategies: accuracy, memory, work and time, each figure measured in this run."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refmicro import __version__, bridge
from refmicro._files import write_files
from refmicro.estimator import estimate
from refmicro.model.writer import write_model
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.plan import plan_offsets
from refmicro.types import TFLM_WHEEL, TflmBuild
from refmicro.zoo import kws, mamba
from refmicro.zoo.evaluate import Accuracy, Progress
from refmicro.zoo.quantise import Grid
from refmicro.zoo.strategies import (
    SOUND_STRATEGIES,
    STRATEGIES,
    Strategy,
    checked,
    memory,
    play_in_refmicro,
    play_in_tflm,
    plays_everything,
)
from refmicro.zoo.streaming import streaming_model
from refmicro.zoo.training import Say, Trained
from refmicro.zoo.unrolled import unrolled_model

PROVEN_CLIPS = 10
"""Clips that refmicro plays to a model which it cannot play all of them to at once."""

PUBLISHED = (
    {
        "system": "Mamba on TFLM (TU Delft, 2026)",
        "ram": "60.4 KB",
        "accuracy": "not stated",
        "note": "INT8, unrolled and split; how the RAM was measured is not stated",
    },
    {
        "system": "MambaLite-Micro (arXiv 2509.05488)",
        "ram": "230 KB",
        "accuracy": "not stated for int8",
        "note": "float32 C, the same dimensions, T = 81",
    },
)
"""Figures of papers, which nobody measured here."""

LARGER = (
    *((1, 64, 41), (1, 64, 81), (1, 64, 161), (2, 64, 81), (4, 64, 81)),
    *((1, 128, 81), (2, 128, 81), (2, 128, 100), (4, 128, 81), (4, 128, 100)),
)
"""(layers, d_model, frames) of the second table; 81 and 100 frames are the published lengths."""

ARENA_LIMIT_BYTES = 256 << 10


def write_report(
    result: kws.Result,
    folder: Path,
    *,
    clips: int | None = None,
    sound: kws.Result | None = None,
    discretisations: dict[str, kws.Result] | None = None,
    say: Say,
    progress: Progress,
) -> dict[str, Any]:
    """Measure all strategies and write `kws-mamba.md`, `.json` and `.png` to `folder`.

    Args:
        result: a run whose discretisation has an integer form.
        folder: made if it is not there.
        clips: of the test split, for TFLM to play; None for all.
        sound: a run of the same settings with the features of TFLM's operators.
        discretisations: float runs of the same settings with other formulations, by name.
        say, progress: told about each strategy and clip.

    Returns:
        The JSON document.

    Raises:
        EnvironmentMissingError: the real TFLM is not here.
    """
    bridge.require()
    document = kws.summary(result)
    document |= {
        "refmicro": __version__,
        "tflm": TFLM_WHEEL,
        "configuration": json.loads(result.config.text()),
        "clips": len(chosen_clips(result, clips)),
        "training_seconds": {
            "float": result.trained.seconds,
            "qat": result.tuned.seconds if result.tuned else None,
        },
        "discretisations": {
            name: kws.summary(other)["accuracy"]["float"]
            for name, other in (discretisations or {}).items()
        },
        "sound": None if sound is None else _sound_summary(sound),
        "published": PUBLISHED,
    }
    document["strategies"] = _rows(result, STRATEGIES, clips, say, progress)
    if sound is not None:
        document["strategies"] += _rows(sound, SOUND_STRATEGIES, clips, say, progress)
    document["larger"] = [_larger(result, *size) for size in LARGER]
    document["targets"] = targets(document)
    files = {
        folder / "kws-mamba.json": (json.dumps(document, indent=1) + "\n").encode(),
        folder / "kws-mamba.md": markdown(document).encode(),
        folder / "kws-mamba.png": _picture(document),
    }
    write_files(files)
    return document


def _rows(
    result: kws.Result,
    strategies: Sequence[Strategy],
    clips: int | None,
    say: Say,
    progress: Progress,
) -> list[dict[str, Any]]:
    """All strategies of one run."""
    floats = kws.float_answers(result)
    chosen = chosen_clips(result, clips)
    rows: list[dict[str, Any]] = []
    for strategy in strategies:
        began = time.monotonic()
        path = _row_path(result, strategy, chosen)
        if path.exists():
            row = json.loads(path.read_text(encoding="utf-8"))
        else:
            row = _row(result, strategy, chosen, floats, rows[0] if rows else {}, progress)
            write_files({path: json.dumps(row).encode()})
        rows.append(row)
        spent = time.monotonic() - began
        say(f"{strategy.name}: {row['arena']['required_bytes']} B, {spent:.0f} s")
    return rows


def _row_path(result: kws.Result, strategy: Strategy, chosen: np.ndarray) -> Path:
    """Where a row is kept, so that an interrupted report goes on: the name is a digest of all that
    decides it, this package included."""
    digest = hashlib.sha256(f"{strategy.name} {TFLM_WHEEL}".encode())
    digest.update(result.config.text().encode() + chosen.tobytes())
    for stage in _stages(result, strategy).values():
        digest.update(repr(sorted(stage.grids.items())).encode())
        for name, values in sorted(stage.parameters.items()):
            digest.update(name.encode() + values.tobytes())
    package = Path(__file__).parents[1]
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.cc")]):
        digest.update(path.read_bytes())
    return result.folder / "report" / f"{digest.hexdigest()[:16]}.json"


def chosen_clips(result: kws.Result, clips: int | None) -> np.ndarray:
    """Numbers of the clips of the test split that TFLM plays, ascending."""
    order = np.random.default_rng([result.config.seed, 50])
    return np.sort(order.permutation(len(result.data.truth["testing"]))[:clips])


def _row(
    result: kws.Result,
    strategy: Strategy,
    chosen: np.ndarray,
    floats: np.ndarray,
    base: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """One strategy: each stage played to TFLM and to refmicro, bytes compared, memory counted.

    refmicro plays the whole test split to a model whose only input is a frame. Of other models
    TFLM's answers on the chosen clips count, or, where these are the bytes of the first strategy,
    that one's accuracy.
    """
    row: dict[str, Any] = {"name": strategy.name, "note": strategy.note, "accuracy": {}}
    every, truth = _inputs(result, strategy), result.data.truth["testing"]
    for name, stage in _stages(result, strategy).items():
        built = strategy.make(result, stage)
        run = play_in_tflm(strategy, built, every[chosen], f"{strategy.name}, {name}", progress)
        clips, mine, answers = chosen, chosen[:PROVEN_CLIPS], run.outputs.argmax(-1)
        if plays_everything(strategy, built):
            whole = play_in_refmicro(strategy, built, every)
            clips, mine, answers = np.arange(len(truth)), whole[chosen], whole.argmax(-1)
        else:
            mine = play_in_refmicro(strategy, built, every[mine])
        row[f"equal_to_tflm_{name}"] = mine.tobytes() == run.outputs[: len(mine)].tobytes()
        row[f"compared_clips_{name}"] = len(mine)
        row[f"crc32_{name}"] = _crc32(run.outputs)
        row["accuracy"][name] = dataclasses.asdict(Accuracy.of(answers == truth[clips])) | {
            "agrees_with_float": float(np.mean(answers == floats[clips]))
        }
        if row[f"crc32_{name}"] == base.get(f"crc32_{name}"):
            row["accuracy"][name] = base["accuracy"][name]
            row["same_bytes_as"] = base["name"]
        row["host_us_per_frame"] = 1e6 * run.frame_s
    frames = result.config.model.frames if strategy.whole else 1
    row |= memory(built, frames, result.config.features.frames_per_second)
    return row | {"check_equal": checked(built, strategy.name)}


def _inputs(result: kws.Result, strategy: Strategy) -> np.ndarray:
    """What clips of the test split are to a model: frames of features, or hops of samples."""
    if not strategy.sound:
        return result.data.features["testing"]
    features = result.config.features
    sound = result.data.sound["testing"][:, : features.frames * features.hop_samples]
    return sound.reshape(len(sound), -1, features.hop_samples)


def _stages(result: kws.Result, strategy: Strategy) -> dict[str, Trained]:
    if not strategy.integer:
        return {"float": result.trained}
    return {"ptq": result.trained} | ({"qat": result.tuned} if result.tuned else {})


def _crc32(outputs: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(outputs).tobytes()):08x}"


def _larger(result: kws.Result, layers: int, d_model: int, frames: int) -> dict[str, Any]:
    """Memory of a deeper, wider or longer model; weights are untrained, no byte depends on them."""
    config = dataclasses.replace(
        *(result.config.model,),
        layers=layers,
        d_model=d_model,
        dt_rank=-(-d_model // 16),
        frames=frames,
    )
    parameters = mamba.initial_parameters(config, result.config.seed)
    names = {name.split(".")[-1] for name in result.trained.grids} | {"sum", "out"}
    grids = {f"{layer}.{name}": Grid(1 / 64) for layer in range(layers) for name in names}
    grids |= {name: Grid(1 / 64) for name in ("frame", "stem", "logits")}
    row: dict[str, Any] = {
        "layers": layers,
        "d_model": d_model,
        "frames": frames,
        "parameters": mamba.parameter_count(config),
    }
    streaming = streaming_model(config, parameters, grids)
    scan = fuse_scan(streaming).model
    scan = plan_offsets(scan, build=TflmBuild.firmware(), time_limit_s=5.0).model
    unrolled = unrolled_model(config, parameters, grids)
    for name, model in (("streaming", streaming), ("scan", scan), ("unrolled", unrolled)):
        arena = estimate(model, abi="ilp32").arena
        row[name] = {
            "required_bytes": arena["required_bytes"],
            "used_bytes": arena["used_bytes"],
            "flash_bytes": len(write_model(model)),
            "operators": model.operator_count,
            "fits_256_kib": arena["required_bytes"] <= ARENA_LIMIT_BYTES,
        }
    return row


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What was to be reached, what was, and whether: memory of two strategies, and accuracies."""
    rows = {row["name"]: row for row in document["strategies"]}
    stock, scan = document["strategies"][0], rows["streaming, SELECTIVE_SCAN"]
    unrolled = rows["unrolled"]
    best = "qat" if "qat" in stock["accuracy"] else "ptq"
    floats, streaming = document["accuracy"]["float"], stock["accuracy"][best]
    points = 100 * (floats["share"] - streaming["share"])
    apart = 100 * abs(streaming["share"] - unrolled["accuracy"][best]["share"])
    found = [
        ("stock operators: at most 10 KB (10,240 B)", stock["arena"]["required_bytes"], 10240),
        ("SELECTIVE_SCAN: at most 6 KB (6,144 B)", scan["arena"]["required_bytes"], 6144),
        ("int8 below float: at most 0.5 points", round(points, 2), 0.5),
        ("streaming and unrolled apart: at most 0.2 points", round(apart, 2), 0.2),
    ]
    return [{"target": t, "found": value, "reached": value <= most} for t, value, most in found]


def _sound_summary(sound: kws.Result) -> dict[str, Any]:
    """The run whose features are TFLM's."""
    return {
        "features": sound.config.features.kind,
        "frames": sound.config.model.frames,
        "qat_epochs": sound.config.qat_epochs,
        "accuracy": kws.summary(sound)["accuracy"],
    }


def markdown(document: dict[str, Any]) -> str:
    """The report as a page."""
    corpus, config = document["corpus"], document["configuration"]
    counts = corpus["clips"]
    lines = [
        "# Keyword spotting with Mamba on TFLM",
        "",
        f"Written by `{_command(document)}`; every figure of the first two tables was measured in "
        "that run.",
        "",
        f"Corpus: {corpus['name']}; {counts['training']} clips for training, "
        f"{counts['validation']} for validation, {counts['testing']} for the test, "
        "speakers disjoint. " + _corpus_text(corpus),
        "",
        f"Model: {document['parameters']:,} parameters, {config['model']['frames']} frames of "
        f"{config['model']['features']} {config['features']['kind']} coefficients a second, "
        f"discretisation `{config['model']['discretisation']}`, seed {config['seed']}. "
        f"Accuracy is of the whole test split; TFLM itself played {document['clips']} clips of it. "
        "Intervals are Wilson's, 95 %.",
        "",
    ]
    lines += _accuracy_table(document) + _strategy_table(document) + _larger_table(document)
    lines += ["## What was to be reached", "", "| target | found | reached |", "|---|---|---|"]
    for row in document["targets"]:
        found = row["found"] if isinstance(row["found"], float) else f"{row['found']:,}"
        lines.append(f"| {row['target']} | {found} | {'yes' if row['reached'] else 'no'} |")
    lines.append("")
    lines += ["## Figures of papers, theirs", "", "| system | RAM | accuracy | note |"]
    lines += ["|---|---|---|---|"]
    for row in document["published"]:
        lines.append(f"| {row['system']} | {row['ram']} | {row['accuracy']} | {row['note']} |")
    left = corpus["left_out"]
    lines += ["", f"Files left out of the corpus: {len(left)}.", *(f"- {text}" for text in left)]
    lines += ["", "![RAM against accuracy](kws-mamba.png)", ""]
    return "\n".join(lines)


def _command(document: dict[str, Any]) -> str:
    """The line that gives this report again, but for where the data and the run are."""
    words = ["refmicro train kws-mamba --report"]
    if document["clips"] < document["corpus"]["clips"]["testing"]:
        words.append(f"--clips {document['clips']}")
    if document["discretisations"]:
        words.append("--compare-discretisations")
    if document["sound"] is None:
        words.append("--without-front-end")
    elif document["sound"]["qat_epochs"] != document["configuration"]["qat_epochs"]:
        words.append(f"--front-end-qat-epochs {document['sound']['qat_epochs']}")
    return " ".join(words)


def _corpus_text(corpus: dict[str, Any]) -> str:
    if "engines" not in corpus:
        return ""
    people = corpus["speakers"]
    return (
        f"{sum(people.values())} speakers from {corpus['voices']} voices "
        f"({', '.join(corpus['engines'].values())}); a voice is in one split only. This is "
        "synthesised speech: the accuracy says what quantization costs, not how the model would "
        "do on recordings of people."
    )


def _percent(found: dict[str, Any]) -> str:
    return f"{100 * found['share']:.2f} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def _accuracy_table(document: dict[str, Any]) -> list[str]:
    lines = ["| accuracy on the whole test split | % |", "|---|---|"]
    names = {
        "float": "float",
        "ptq": "int8, calibrated only",
        "qat": "int8, trained with its rounding",
    }
    for name, found in document["accuracy"].items():
        lines.append(f"| {names[name]} | {_percent(found)} |")
    for name, found in document["discretisations"].items():
        lines.append(f"| float, discretisation `{name}` | {_percent(found)} |")
    for name, found in (document["sound"] or {"accuracy": {}})["accuracy"].items():
        kind, epochs = document["sound"]["features"], document["sound"]["qat_epochs"]
        text = f"{names[name]} ({epochs} epochs)" if name == "qat" else names[name]
        lines.append(f"| {text}, features `{kind}` | {_percent(found)} |")
    return [*lines, ""]


def _strategy_table(document: dict[str, Any]) -> list[str]:
    lines = [
        "Arena: Cortex-M (ilp32), reference kernels. *required* is the smallest arena with which "
        "`AllocateTensors` and `Invoke` succeed; *tried* is the one that was found by trying in "
        "TFLM itself, on x86-64, whose pointers are twice as long, and equals what is predicted "
        f"for it. Every strategy ran in refmicro and in TFLM {document['tflm']}. *Agrees* is the "
        "share of clips with the float model's answer.",
        "",
        "| strategy | arena used | required | tried, x86-64 | flash | parameters | operators | "
        "operators a frame | a second | MACs a frame | a second | host, µs a frame | PTQ % | QAT % "
        "| agrees % | TFLM = refmicro |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["strategies"]:
        accuracy = row["accuracy"]
        best = accuracy.get("qat") or accuracy.get("ptq") or accuracy["float"]
        first = accuracy.get("ptq") or accuracy.get("float")
        equal = all(value for key, value in row.items() if key.startswith("equal_to_tflm"))
        cells = [
            row["name"],
            f"{row['arena']['used_bytes']:,}",
            f"{row['arena']['required_bytes']:,}",
            f"{row['smallest_lp64_bytes']['tried']:,}"
            + ("" if row["smallest_as_predicted"] else "!"),
            f"{row['flash_bytes']:,}",
            f"{document['parameters']:,}",
            str(row["operators"]) + (f" in {row['parts']} parts" if row["parts"] > 1 else ""),
            f"{row['operators_per_frame']:.1f}",
            f"{row['operators_per_second']:,.0f}",
            f"{row['macs_per_frame']:,.0f}",
            f"{row['macs_per_second']:,.0f}",
            f"{row['host_us_per_frame']:.0f}",
            _percent(first) + (" float" if "float" in accuracy else ""),
            _percent(accuracy["qat"]) if "qat" in accuracy else "",
            f"{100 * best['agrees_with_float']:.2f}",
            "yes" if equal and row["check_equal"] else "NO",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {row['name']}: {row['note']}." for row in document["strategies"]]
    return [*lines, ""]


def _larger_table(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Larger models",
        "",
        "Memory does not depend on the weights: these are untrained, so no accuracy is given. A "
        "streaming model does not depend on the number of frames either.",
        "",
        "| layers | d_model | frames | parameters | streaming: required | with SELECTIVE_SCAN | "
        "flash | unrolled: required | flash | operators | unrolled in 256 KiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["larger"]:
        stream, unrolled = row["streaming"], row["unrolled"]
        cells = [
            *(str(row["layers"]), str(row["d_model"]), str(row["frames"])),
            *(f"{row['parameters']:,}", f"{stream['required_bytes']:,}"),
            *(f"{row['scan']['required_bytes']:,}", f"{stream['flash_bytes']:,}"),
            *(f"{unrolled['required_bytes']:,}", f"{unrolled['flash_bytes']:,}"),
            str(unrolled["operators"]),
            "fits" if unrolled["fits_256_kib"] else "does not fit",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _picture(document: dict[str, Any]) -> bytes:
    """RAM against accuracy, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5), layout="constrained")
    for row in document["strategies"]:
        accuracy = row["accuracy"]
        found = accuracy.get("qat") or accuracy.get("ptq") or accuracy["float"]
        share = 100 * found["share"]
        below, above = share - 100 * found["low"], 100 * found["high"] - share
        ram = row["arena"]["required_bytes"] / 1000
        axes.errorbar(ram, share, [[below], [above]], fmt="o", capsize=3, label=row["name"])
    axes.axvline(60.4, linestyle="--", color="grey")
    place = {"xycoords": ("data", "axes fraction"), "rotation": 90, "ha": "right"}
    axes.annotate("60.4 KB: a paper's figure", (60.4, 0.02), **place)
    axes.set_xscale("log")
    axes.set_xlabel("smallest arena on a Cortex-M, KB (1000 bytes)")
    axes.set_ylabel("accuracy on the test split, %")
    figure.legend(loc="outside right center", fontsize="small")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return buffer.getvalue()
