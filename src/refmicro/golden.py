"""Golden vectors: inputs from a seed, outputs from the real TFLM, and a manifest that says so.

refmicro never writes an expected value of its own. A model with state is recorded as streams of
several steps from reset. See `docs/golden-format.md`.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refmicro import __version__, bridge
from refmicro._files import npz_bytes, write_files
from refmicro.errors import InvalidModelError, UnsupportedError, UsageError
from refmicro.model.graph import Model
from refmicro.program import default_resource_variables, has_state, prepare_model
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.types import TFLM_REVISION, TFLM_WHEEL, TflmBuild
from refmicro.vectors import random_inputs

FORMATS = ("npz", "c")
DEFAULT_STEPS = 8
"""Steps of a stream where the model has state and the user names no number."""


def write_golden(
    model: Model,
    name: str,
    folder: Path,
    *,
    count: int = 16,
    seed: int = 0,
    steps: int | None = None,
    formats: Sequence[str] = FORMATS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Record `count` vectors, or `count` streams of `steps` steps, and write them to `folder`.

    Args:
        model: a model that was read from a file.
        name: the model's name in file names and C identifiers.
        folder: made if it is not there.
        count, seed: how many vectors, and from which seed.
        steps: 1 for single vectors; by default 1 without state, else `DEFAULT_STEPS`.
        formats: any of `FORMATS`.
        progress: called as progress(done, total) with finished vectors.

    Returns:
        The manifest that was written.

    Raises:
        EnvironmentMissingError: if the oracle is not here.
        OracleError: if TFLM refuses the model.
        UsageError: if count or steps are below 1, a format is unknown, or files cannot be written.
    """
    _check_arguments(count, steps, formats)
    resources = default_resource_variables(model)
    steps = steps or (DEFAULT_STEPS if _is_stateful(model) else 1)
    graph = model.subgraphs[0]
    tensors = [graph.tensors[i] for i in graph.inputs]
    rows = random_inputs(tensors, count * steps, seed)
    outputs, arena = _record(model, rows, count, steps, resources, progress)
    lead = (count, steps) if steps > 1 else (count,)
    inputs = [array.reshape(*lead, *array.shape[1:]) for array in rows]
    outputs = [array.reshape(*lead, *array.shape[1:]) for array in outputs]
    files: dict[str, bytes] = {}
    if "npz" in formats:
        files["inputs.npz"] = npz_bytes({str(i): a for i, a in enumerate(inputs)})
        files["outputs.npz"] = npz_bytes({str(i): a for i, a in enumerate(outputs)})
    if "c" in formats:
        header = _c_header(model, name, inputs, outputs, count, steps)
        files["golden.h"] = header.encode(errors="backslashreplace")
    manifest = {
        "schema_version": 1,
        "refmicro": __version__,
        "model": {"name": name, "sha256": model.sha256, "bytes": len(model.source or b"")},
        "written_by": {"tflite_micro": TFLM_WHEEL, "revision": TFLM_REVISION},
        "seed": seed,
        "count": count,
        "steps": steps,
        "resource_variables": resources,
        "inputs": [_describe(a, lead) for a in inputs],
        "outputs": [_describe(a, lead) for a in outputs],
        "arena_lp64_recording": arena,
        "files": {key: hashlib.sha256(data).hexdigest() for key, data in sorted(files.items())},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    write_files({folder / key: data for key, data in files.items()})
    return manifest


def _check_arguments(count: int, steps: int | None, formats: Sequence[str]) -> None:
    if count < 1:
        raise UsageError(f"--count must be at least 1: {count}")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps must be at least 1: {steps}")
    for item in formats:
        if item not in FORMATS:
            raise UsageError(f"--format must be one of {', '.join(FORMATS)}: {item}")


def _is_stateful(model: Model) -> bool:
    """Whether one invocation can change the next; tensors alone judge what refmicro refuses."""
    try:
        return has_state(prepare_model(model, TflmBuild.wheel()))
    except (InvalidModelError, UnsupportedError):
        variable = any(t.is_variable for g in model.subgraphs for t in g.tensors)
        return variable or default_resource_variables(model) > 0


def _record(
    model: Model,
    rows: list[np.ndarray],
    count: int,
    steps: int,
    resources: int,
    progress: Callable[[int, int], None],
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Outputs of all rows, and the arena as the recording allocator measured it."""
    outputs: list[list[np.ndarray]] = []
    custom = custom_ops_of(model)
    with bridge.IsolatedOracle(
        model.source, recording=True, resource_variables=resources, custom_ops=custom
    ) as oracle:
        for row in range(count * steps):
            if row % steps == 0:
                oracle.reset()
            for index, array in enumerate(rows):
                oracle.set_input(array[row], index)
            oracle.invoke()
            outputs.append([oracle.get_output(i) for i in range(len(oracle.outputs))])
            progress(row + 1, count * steps)
        arena = oracle.arena
    stacked = [np.stack(column) for column in zip(*outputs, strict=True)]
    return stacked, {
        "used_bytes": arena.used_bytes,
        "head_bytes": arena.head_bytes,
        "tail_bytes": arena.tail_bytes,
    }


def _describe(array: np.ndarray, lead: tuple[int, ...]) -> dict[str, Any]:
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape[len(lead) :]),
        "crc32": zlib.crc32(np.ascontiguousarray(array).tobytes()),
    }


_C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float32": "float",
    "float64": "double",
    "bool": "bool",
}


def _c_header(
    model: Model,
    name: str,
    inputs: list[np.ndarray],
    outputs: list[np.ndarray],
    count: int,
    steps: int,
) -> str:
    prefix = c_identifier(name)
    lines = [
        f"/* Golden vectors of {name}, written by refmicro {__version__} from the real TFLM",
        f" * (tflite-micro {TFLM_WHEEL}). Model SHA-256:",
        f" * {model.sha256}",
        f" * {count} streams of {steps} steps, each from reset; the last axis is one tensor. */",
        f"#ifndef {prefix.upper()}_GOLDEN_H_",
        f"#define {prefix.upper()}_GOLDEN_H_",
        "#include <math.h>",
        "#include <stdbool.h>",
        "#include <stdint.h>",
        f"#define {prefix.upper()}_COUNT {count}",
        f"#define {prefix.upper()}_STEPS {steps}",
    ]
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for index, array in enumerate(arrays):
            lines += _c_array(f"{prefix}_{kind}_{index}", array, count * steps)
    lines += ["#endif", ""]
    return "\n".join(lines)


def c_identifier(name: str) -> str:
    """`name` as a C identifier."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"m{text}" if text[:1].isdigit() or not text else text


def _c_array(name: str, array: np.ndarray, rows: int) -> list[str]:
    flat = array.reshape(rows, -1)
    crc = zlib.crc32(np.ascontiguousarray(array).tobytes())
    head = f"static const {_C_TYPES[str(array.dtype)]} {name}[{rows}][{flat.shape[1]}] = {{"
    body = [f"{{{', '.join(_c_number(value) for value in row)}}}," for row in flat]
    macro = f"#define {name.upper()}"
    return [f"{macro}_ELEMENTS {flat.shape[1]}", f"{macro}_CRC32 {crc:#010x}u", head, *body, "};"]


def _c_number(value: Any) -> str:
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.floating):
        if not np.isfinite(value):
            return "NAN" if np.isnan(value) else ("INFINITY" if value > 0 else "-INFINITY")
        return float(value).hex() + ("f" if isinstance(value, np.float32) else "")
    if value == np.iinfo(np.int64).min:
        return "INT64_MIN"
    if value == np.iinfo(np.int32).min:
        return "INT32_MIN"
    return f"{value}LL" if isinstance(value, np.int64) else str(value)
