"""The page of `localisation_report`: Markdown from its document."""

from __future__ import annotations

from typing import Any

_TITLES = {
    "float": "float",
    "ptq": "PTQ int8",
    "ptq_int16x8": "PTQ int16x8",
    "qat": "QAT int8",
    "kd_paper": "KD (the paper's loss), float",
    "kd_mixed": "KD (mixed windows), float",
    "kd_qat": "KD + QAT int8",
}


def model_title(name: str) -> str:
    """`mdcsa-16-1` as `MDCSA H16 L1`."""
    family, hidden, layers = name.split("-")
    return f"{'MDCSA' if family == 'mdcsa' else 'Mamba'} H{hidden} L{layers}"


def markdown(document: dict[str, Any]) -> str:
    """The report as a page."""
    lines = ["# Indoor localisation on TFLM", ""]
    lines += [
        "Written by `refmicro train localisation --report`; every figure was measured in that run "
        "but the columns marked as the paper's.",
        "",
    ]
    lines += _data(document) + _rightness(document) + _memory(document) + _targets(document)
    lines += _published(document) + _proof(document)
    lines += [
        "![F1 against RAM](localisation.ram.png)",
        "",
        "![Confusion matrices](localisation.confusion.png)",
        "",
        "![Walked path and predicted rooms](localisation.path.png)",
        "",
    ]
    return "\n".join(lines)


def _data(document: dict[str, Any]) -> list[str]:
    simulated = document["simulated"]
    lines = ["## Data", ""]
    if simulated:
        lines += [
            f"Simulated: {', '.join(simulated)}, in the files of the public sets and through their "
            "loaders. **The figures say what quantization and distillation cost, not how a model "
            "does in the homes of the public set**; beside the paper's they show no more than that "
            "the tasks are of one shape.",
            "",
        ]
    lines += [
        "| site | access points | classes | windows: training | validation | test | teacher's F1 % "
        "| faults |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, site in document["sites"].items():
        counts = ", ".join(f"{kind} {count}" for kind, count in site["faults"].items())
        cells = [name, str(site["access_points"]), str(len(site["classes"]))]
        cells += [str(site["windows"][part]) for part in ("training", "validation", "test")]
        cells += [f"{100 * site['teacher']['f1']:.1f}", counts or "none"]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = document["configuration"]["seeds"]
    decoding = "CRF, Viterbi" if document["configuration"]["with_crf"] else "no CRF"
    return [
        *lines,
        "",
        f"Test is the whole free-living part; {decoding}; {seeds} seeds, intervals are Student's, "
        "95 %, over seeds. Integer figures are those of the integer model: refmicro ran it on all "
        "windows.",
        "",
    ]


def _mean(found: dict[str, Any]) -> str:
    half = found["half"]
    return f"{100 * found['mean']:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _rightness(document: dict[str, Any]) -> list[str]:
    stages = list(_TITLES)
    lines = ["## Macro-F1 and accuracy, %", ""]
    for title, key in (("F1", "f1"), ("accuracy", "accuracy")):
        heads = ["site", "model", *(f"{title}: {_TITLES[stage]}" for stage in stages)]
        lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for row in document["rows"]:
            cells = [row["home"], model_title(row["model"])]
            cells += [_mean(row["stages"][stage][key]) for stage in stages]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    streams = [row for row in document["rows"] if "stream" in row]
    if streams:
        lines += [
            "Mamba as one stream over whole recordings, never reset, QAT int8, first seed:",
            "",
            "| site | model | F1 % | accuracy % | windows, the same seed: F1 % |",
            "|---|---|---|---|---|",
        ]
        for row in streams:
            alone = row["stages"]["qat"]["seeds"][0]["f1"]
            cells = [row["home"], model_title(row["model"])]
            cells += [f"{100 * row['stream'][key]:.1f}" for key in ("f1", "accuracy")]
            lines.append("| " + " | ".join([*cells, f"{100 * alone:.1f}"]) + " |")
        lines.append("")
    return lines


def _fits(found: list[int]) -> str:
    return str(min(found)) if found else "none"


def _memory(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Memory and work",
        "",
        "Arena: Cortex-M (ilp32), reference kernels. *required* is the smallest arena with which "
        "`AllocateTensors` and `Invoke` succeed; flash is the `.tflite` file. Emitted C is that of "
        "`refmicro emit --target cortex-m4`. MACs are those of an invocation: a window for MDCSA, "
        "a sample for Mamba. *fits* is the smallest of 64, 32 and 16 KiB that holds the arena, or "
        "the arena and the file. Parameters are counted as the paper does, with the CRF; *reached* "
        "are those of the graph.",
        "",
        "| site | model | type | parameters | reached | arena used | required | flash | sum | "
        "emitted C: RAM | constants | MACs | operators | fits: RAM | RAM and flash |",
        "|---" * 15 + "|",
    ]
    for row in document["rows"]:
        for kind, memory in row["memory"].items():
            total = memory["required_bytes"] + memory["flash_bytes"]
            made = row["emitted"] if kind == "int8" else {}
            emitted = [f"{made[key]:,}" if key in made else "" for key in _EMITTED]
            cells = [row["home"], model_title(row["model"]), kind]
            cells += [f"{row['parameters']:,}", f"{row['reached_parameters']:,}"]
            cells += [f"{memory[key]:,}" for key in ("used_bytes", "required_bytes", "flash_bytes")]
            cells += [f"{total:,}", *emitted, f"{memory['macs']:,}", str(memory["operators"])]
            cells += [_fits(memory["fits_ram_kib"]), _fits(memory["fits_ram_and_flash_kib"])]
            lines.append("| " + " | ".join(cells) + " |")
    refusals = {
        row["emitted"]["refused"] for row in document["rows"] if "refused" in row["emitted"]
    }
    lines += ["", *(f"- `refmicro emit` refuses: {text}" for text in sorted(refusals))]
    return [*lines, *_sizes(document), ""]


def _sizes(document: dict[str, Any]) -> list[str]:
    if not document["sizes"]:
        return []
    lines = [
        f"Other widths and depths, int8, home {document['sizes'][0]['home']}; no byte depends on "
        "what was learnt, so these are untrained:",
        "",
        "| model | parameters | required | flash | sum | MACs | fits: RAM | RAM and flash |",
        "|---" * 8 + "|",
    ]
    for row in document["sizes"]:
        memory = row["memory"]
        total = memory["required_bytes"] + memory["flash_bytes"]
        cells = [model_title(row["model"]), f"{row['parameters']:,}"]
        cells += [f"{memory['required_bytes']:,}", f"{memory['flash_bytes']:,}", f"{total:,}"]
        cells += [f"{memory['macs']:,}", _fits(memory["fits_ram_kib"])]
        lines.append("| " + " | ".join([*cells, _fits(memory["fits_ram_and_flash_kib"])]) + " |")
    return lines


_EMITTED = ("ram_bytes", "constant_bytes")


def _targets(document: dict[str, Any]) -> list[str]:
    """What was to be reached, and what each home reaches."""
    lines = [
        "## Targets",
        "",
        "| site | model | arena and file, bytes | mark | QAT F1 less float F1, points | within 1 |",
        "|---|---|---|---|---|---|",
    ]
    marks = {"mdcsa-16-1": 32_000, "mamba-8-1": 16_000}
    for row in document["rows"]:
        mark = marks.get(row["model"])
        if mark is None:
            continue
        memory = row["memory"]["int8"]
        total = memory["required_bytes"] + memory["flash_bytes"]
        stages = row["stages"]
        change = 100 * (stages["qat"]["f1"]["mean"] - stages["float"]["f1"]["mean"])
        cells = [row["home"], model_title(row["model"]), f"{total:,}"]
        cells += [f"{mark:,}: {'below' if total < mark else 'ABOVE'}", f"{change:+.2f}"]
        lines.append("| " + " | ".join([*cells, "yes" if change >= -1 else "NO"]) + " |")
    return [
        *lines,
        "",
        "The Mamba takes a sample an invocation and keeps its state: its arena does not depend on "
        "the length of a window.",
        "",
    ]


def _published(document: dict[str, Any]) -> list[str]:
    rows = [row for row in document["rows"] if "published" in row]
    if not rows:
        return []
    lines = [
        "## The paper's columns, theirs",
        "",
        "Suwannaphong et al., Scientific Reports 15:10081 (2025), on the public homes. Sizes are "
        "of model files, which the paper holds against RAM; its int8 covers linear layers alone "
        "and ran on no microcontroller.",
        "",
        "| site | model | parameters, theirs | here | F1 % float, theirs | KB | LLM.int8, theirs | "
        "KB | dynamic int8, theirs | KB | KD, theirs | KD + LLM.int8, theirs | here, required "
        "arena, KB | here, arena and file, KB |",
        "|---" * 14 + "|",
    ]
    for row in rows:
        count, *others = row["published"]
        memory = row["memory"]["int8"]
        total = memory["required_bytes"] + memory["flash_bytes"]
        cells = [row["home"], model_title(row["model"]), f"{count:,}", f"{row['parameters']:,}"]
        cells += [str(value) for value in others]
        cells += [f"{memory['required_bytes'] / 1000:.1f}", f"{total / 1000:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _proof(document: dict[str, Any]) -> list[str]:
    found = [proof for row in document["rows"] for proof in row["proof"].values()]
    equal = sum(proof["check_equal"] and proof["played_equal"] for proof in found)
    windows = sum(proof["windows"] for proof in found)
    return [
        "## Equal to TFLM",
        "",
        f"{equal} of {len(found)} integer models are equal to TFLM {document['tflm']} byte for "
        f"byte, in every tensor and every arena category (`refmicro check`), and in {windows:,} "
        "windows of the test part that TFLM itself played.",
        "",
    ]
