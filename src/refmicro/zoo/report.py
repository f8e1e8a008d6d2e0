"""The table of strategies: accuracy, memory, work and time, each figure measured in this run."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refmicro import __version__, bridge
from refmicro._files import write_files
from refmicro.compare import check_model
from refmicro.estimator import estimate
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.program import default_resource_variables
from refmicro.types import TFLM_WHEEL
from refmicro.zoo import kws, mamba
from refmicro.zoo.evaluate import (
    Accuracy,
    Progress,
    TflmRun,
    run_in_refmicro,
    run_in_tflm,
    run_whole_in_tflm,
)
from refmicro.zoo.looped import while_model
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import (
    StreamingOptions,
    float_grids,
    quantised_frames,
    streaming_model,
    wide_grids,
)
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

LARGER = ((1, 64), (2, 64), (4, 64), (1, 128), (2, 128), (4, 128))
"""(layers, d_model) of the second table."""

ARENA_LIMIT_BYTES = 256 << 10


@dataclass(frozen=True)
class Strategy:
    """One way to run the model on TFLM.

    Attributes:
        name, note: for the table.
        make: the model from dimensions, parameters and grids.
        whole: the model takes a clip at once, else a frame.
        integer: there is a difference between calibrated and tuned weights.
    """

    name: str
    note: str
    make: Callable[[Any, dict[str, np.ndarray], dict[str, Grid]], Model]
    whole: bool = False
    integer: bool = True


def _streaming(**options: Any) -> Callable[..., Model]:
    def make(config: Any, parameters: Any, grids: dict[str, Grid]) -> Model:
        if options.get("bits") == 16:
            grids = wide_grids(grids)
        if options.get("bits") == 32:
            grids = float_grids(grids)
        return streaming_model(config, parameters, grids, StreamingOptions(**options))

    return make


STRATEGIES = (
    Strategy(
        "streaming, in place, shared bytes",
        "int8; state in variable tensors, temporaries share bytes by an offline plan",
        _streaming(),
    ),
    Strategy(
        "streaming, in place",
        "int8; state in variable tensors, offsets by TFLM's own planner",
        _streaming(in_place=False),
    ),
    Strategy(
        "streaming, state as input and output",
        "int8; the application carries the state from frame to frame",
        _streaming(state="input-output", in_place=False),
    ),
    Strategy(
        "streaming, resource variables",
        "int8; READ_VARIABLE and ASSIGN_VARIABLE around the step",
        _streaming(state="resource", in_place=False),
    ),
    Strategy(
        "streaming, a scale a row",
        "int8; per-channel weights in FULLY_CONNECTED, which training did not see",
        _streaming(per_channel=True),
    ),
    Strategy("unrolled", "int8; all frames at once, a chain of T steps", unrolled_model, True),
    Strategy("WHILE loop", "int8; the streaming step as the body of a loop", while_model, True),
    Strategy(
        "streaming, 16-bit state",
        "int8 but for the recurrence: state, decays and what enters have 16 bits",
        _streaming(state_bits=16),
    ),
    Strategy("streaming, int16x8", "16-bit activations and state", _streaming(bits=16)),
    Strategy(
        "streaming, float32",
        "the baseline; no quantization",
        _streaming(bits=32),
        integer=False,
    ),
)

MISSING = (
    "unrolled and split: waits for the transform that splits a model",
    "SELECTIVE_SCAN: the operator takes the decay as a function of a product, dt * A, and this "
    "model's argument is a sum, z + A_log",
    "the front end (sound to features) runs on the host, not as operators in the model",
)
"""What the table lacks, in words."""


def write_report(
    result: kws.Result,
    folder: Path,
    *,
    clips: int | None = None,
    discretisations: dict[str, kws.Result] | None = None,
    say: Say,
    progress: Progress,
) -> dict[str, Any]:
    """Measure all strategies and write `kws-mamba.md`, `.json` and `.png` to `folder`.

    Args:
        result: a run whose discretisation has an integer form.
        folder: made if it is not there.
        clips: of the test split, for TFLM to play; None for all.
        discretisations: float runs of the same settings with other formulations, by name.
        say, progress: told about each strategy and clip.

    Returns:
        The JSON document.

    Raises:
        EnvironmentMissingError: the real TFLM is not here.
    """
    bridge.require()
    document = kws.summary(result)
    truth = result.data.truth["testing"]
    order = np.random.default_rng([result.config.seed, 50]).permutation(len(truth))
    chosen = np.sort(order[:clips])
    floats = kws.float_answers(result)
    document |= {
        "refmicro": __version__,
        "tflm": TFLM_WHEEL,
        "configuration": json.loads(result.config.text()),
        "clips": len(chosen),
        "strategies": [],
        "training_seconds": {
            "float": result.trained.seconds,
            "qat": result.tuned.seconds if result.tuned else None,
        },
        "discretisations": {
            name: kws.summary(other)["accuracy"]["float"]
            for name, other in (discretisations or {}).items()
        },
        "published": PUBLISHED,
        "missing": MISSING,
    }
    stages = {"ptq": result.trained} | ({"qat": result.tuned} if result.tuned else {})
    for strategy in STRATEGIES:
        used = stages if strategy.integer else {"float": result.trained}
        base = document["strategies"][0] if document["strategies"] else {}
        row = _row(result, strategy, used, chosen, floats, base, say, progress)
        document["strategies"].append(row)
    document["larger"] = [_larger(result, *size) for size in LARGER]
    files = {
        folder / "kws-mamba.json": (json.dumps(document, indent=1) + "\n").encode(),
        folder / "kws-mamba.md": markdown(document).encode(),
        folder / "kws-mamba.png": _picture(document),
    }
    write_files(files)
    return document


def _row(
    result: kws.Result,
    strategy: Strategy,
    stages: dict[str, Trained],
    chosen: np.ndarray,
    floats: np.ndarray,
    base: dict[str, Any],
    say: Say,
    progress: Progress,
) -> dict[str, Any]:
    """One strategy: each stage played to TFLM and to refmicro, bytes compared, memory counted.

    refmicro plays the whole test split to a model whose only input is a frame. Of other models
    TFLM's answers on the chosen clips count, or, where these are the bytes of the first strategy,
    that one's accuracy.
    """
    began = time.monotonic()
    row: dict[str, Any] = {"name": strategy.name, "note": strategy.note, "accuracy": {}}
    every, truth = result.data.features["testing"], result.data.truth["testing"]
    play = run_whole_in_tflm if strategy.whole else run_in_tflm
    for name, stage in stages.items():
        grids = stage.grids or result.trained.grids
        model = strategy.make(result.config.model, stage.parameters, grids)
        what = f"{strategy.name}, {name}"
        run: TflmRun = play(model, every[chosen], what=what, progress=progress)
        if strategy.whole or len(model.subgraphs[0].inputs) > 1:
            clips = chosen
            proven = chosen[:PROVEN_CLIPS]
            mine = _in_refmicro(model, every[proven], strategy.whole)
            theirs, answers = run.outputs[:PROVEN_CLIPS], run.outputs.argmax(-1)
        else:
            clips = np.arange(len(truth))
            whole = run_in_refmicro(model, every)
            mine, theirs, answers = whole[chosen], run.outputs, whole.argmax(-1)
        row[f"equal_to_tflm_{name}"] = mine.tobytes() == theirs.tobytes()
        row[f"compared_clips_{name}"] = len(mine)
        row[f"crc32_{name}"] = _crc32(run.outputs)
        row["accuracy"][name] = dataclasses.asdict(Accuracy.of(answers == truth[clips])) | {
            "agrees_with_float": float(np.mean(answers == floats[clips]))
        }
        if row[f"crc32_{name}"] == base.get(f"crc32_{name}"):
            row["accuracy"][name] = base["accuracy"][name]
            row["same_bytes_as"] = base["name"]
        row["host_us_per_frame"] = 1e6 * run.frame_s
    check = check_model(model, strategy.name, count=4)
    row |= _memory(model, result, strategy.whole) | {"check_equal": check.equal}
    say(f"{strategy.name}: {row['arena']['required_bytes']} B, {time.monotonic() - began:.0f} s")
    return row


def _crc32(outputs: np.ndarray) -> str:
    import zlib

    return f"{zlib.crc32(np.ascontiguousarray(outputs).tobytes()):08x}"


def _in_refmicro(model: Model, frames: np.ndarray, whole: bool) -> np.ndarray:
    """What refmicro gives for the same clips: the answers, (N, classes)."""
    interpreter = Interpreter(model)
    clips = quantised_frames(model, frames)
    if whole:
        shape = interpreter.get_input_details(0).shape
        return interpreter.invoke_batch([clips.reshape(-1, *shape)])[0][:, 0]
    if interpreter.input_count == 1:
        return interpreter.invoke_sequence([clips[:, :, None, :]])[0][:, -1, 0]
    carried = [interpreter.get_input_details(i) for i in range(1, interpreter.input_count)]
    sources = [*range(1, interpreter.output_count), 0][: len(carried)]
    answers = []
    for clip in clips:
        interpreter.reset()
        state = [np.full(item.shape, item.zero_point, item.dtype) for item in carried]
        for frame in clip:
            interpreter.set_input(frame[None], 0)
            for index, values in enumerate(state):
                interpreter.set_input(values, index + 1)
            interpreter.invoke()
            state = [interpreter.get_output(index) for index in sources]
        answers.append(interpreter.get_output(0)[0])
    return np.array(answers)


def _memory(model: Model, result: kws.Result, whole: bool) -> dict[str, Any]:
    """Arena of a Cortex-M, smallest arena of the wheel predicted and tried, work a second."""
    counted = estimate(model, abi="ilp32")
    predicted = estimate(model, abi="lp64").arena["required_bytes"]
    frames = result.config.model.frames if whole else 1
    resources = default_resource_variables(model)
    return {
        "arena": counted.arena,
        "smallest_lp64_bytes": {
            "predicted": predicted,
            "tried": bridge.smallest_arena(model.source or b"", resource_variables=resources),
        },
        "flash_bytes": len(model.source or b""),
        "operators": model.operator_count,
        "operators_per_frame": model.operator_count / frames,
        "macs_per_frame": counted.macs / frames,
        "macs_per_second": counted.macs / frames * result.config.features.frames_per_second,
    }


def _larger(result: kws.Result, layers: int, d_model: int) -> dict[str, Any]:
    """Memory of a deeper or wider model; weights are untrained, which no byte depends on."""
    config = dataclasses.replace(
        result.config.model, layers=layers, d_model=d_model, dt_rank=-(-d_model // 16)
    )
    parameters = mamba.initial_parameters(config, result.config.seed)
    names = {name.split(".")[-1] for name in result.trained.grids} | {"sum", "out"}
    grids = {f"{layer}.{name}": Grid(1 / 64) for layer in range(layers) for name in names}
    grids |= {name: Grid(1 / 64) for name in ("frame", "stem", "logits")}
    row: dict[str, Any] = {
        "layers": layers,
        "d_model": d_model,
        "parameters": mamba.parameter_count(config),
    }
    for name, model in (
        ("streaming", streaming_model(config, parameters, grids)),
        ("unrolled", unrolled_model(config, parameters, grids)),
    ):
        arena = estimate(model, abi="ilp32").arena
        row[name] = {
            "required_bytes": arena["required_bytes"],
            "used_bytes": arena["used_bytes"],
            "flash_bytes": len(model.source or b""),
            "operators": model.operator_count,
            "fits_256_kib": arena["required_bytes"] <= ARENA_LIMIT_BYTES,
        }
    return row


def markdown(document: dict[str, Any]) -> str:
    """The report as a page."""
    corpus, config = document["corpus"], document["configuration"]
    counts = corpus["clips"]
    lines = [
        "# Keyword spotting with Mamba on TFLM",
        "",
        "Written by `refmicro train kws-mamba --report`; every figure of the first two tables was "
        "measured in that run.",
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
    lines += ["## Figures of papers, theirs", "", "| system | RAM | accuracy | note |"]
    lines += ["|---|---|---|---|"]
    for row in document["published"]:
        lines.append(f"| {row['system']} | {row['ram']} | {row['accuracy']} | {row['note']} |")
    lines += ["", "## What is missing", "", *(f"- {text}" for text in document["missing"])]
    left = corpus["left_out"]
    lines += ["", f"Files left out of the corpus: {len(left)}.", *(f"- {text}" for text in left)]
    lines += ["", "![RAM against accuracy](kws-mamba.png)", ""]
    return "\n".join(lines)


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
    return [*lines, ""]


def _strategy_table(document: dict[str, Any]) -> list[str]:
    lines = [
        "Arena: Cortex-M (ilp32), reference kernels. *required* is the smallest arena with which "
        "`AllocateTensors` and `Invoke` succeed. Every strategy ran in refmicro and in TFLM "
        f"{document['tflm']}.",
        "",
        "| strategy | arena used | required | flash | operators | MACs a frame | MACs a second | "
        "host, µs a frame | PTQ % | QAT % | agrees with float % | TFLM = refmicro |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
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
            f"{row['flash_bytes']:,}",
            str(row["operators"]),
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
        "Memory does not depend on the weights: these are untrained, so no accuracy is given.",
        "",
        "| layers | d_model | parameters | streaming: required | flash | unrolled: required | "
        "flash | operators | unrolled in 256 KiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["larger"]:
        stream, unrolled = row["streaming"], row["unrolled"]
        cells = [
            *(str(row["layers"]), str(row["d_model"]), f"{row['parameters']:,}"),
            *(f"{stream['required_bytes']:,}", f"{stream['flash_bytes']:,}"),
            *(f"{unrolled['required_bytes']:,}", f"{unrolled['flash_bytes']:,}"),
            str(unrolled["operators"]),
            "fits" if unrolled["fits_256_kib"] else "does not fit",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _picture(document: dict[str, Any]) -> bytes:
    """RAM against accuracy, as PNG."""
    import io

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
