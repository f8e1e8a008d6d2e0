"""What the differential tests compared, counted by operator and types, for `docs/ops.md`.

`REFMICRO_RECORD=FOLDER pytest tests/ops` makes `harness.compare` write one line for each model into
FOLDER; `python -m tests.ops.record FOLDER` adds the lines up into `golden/ops_compared.json`.
While recording, the types of each model that ran are also exchanged for all others, so that the
record names what `prepare` accepts and no test compared.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from refmicro._files import write_files
from refmicro.model.graph import Model, Operator
from refmicro.ops import registry
from refmicro.program import place, prepare_model
from refmicro.types import (
    NO_QUANTIZATION,
    TFLM_REVISION,
    TFLM_WHEEL,
    DType,
    Quantization,
    Tensor,
    TflmBuild,
)
from tests.ops import malformed

RECORD = Path(__file__).parents[2] / "golden" / "ops_compared.json"

FOLDER = os.environ.get("REFMICRO_RECORD", "")

TYPES = [
    DType.FLOAT32,
    DType.INT4,
    DType.INT8,
    DType.UINT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.BOOL,
]

_explored: set[tuple[str, str]] = set()


def note(model: Model, values: int, refusal: str = "") -> None:
    """Write down one compared model; `refusal` is refmicro's sentence where both refuse it."""
    if not FOLDER:
        return
    test = Path(os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]).stem
    for op in _judged(model, test):
        row = {"name": op.name, **_signature(model, op), "values": values}
        if refusal:
            row["rule"] = _rule(refusal, op.name)
        _write(row)
        if not refusal and len(model.subgraphs) == len(model.subgraphs[0].operators) == 1:
            _explore(model, row["name"], row["types"])


def _judged(model: Model, test: str) -> list[Operator]:
    """The operators that a test is about: the only one, or those that the test file is named by."""
    graph = model.subgraphs[0]
    if len(graph.operators) == 1:
        return list(graph.operators)
    return [op for op in graph.operators if test == f"test_{registry.module_name(op.name)}"]


def _signature(model: Model, op: Operator) -> dict[str, str]:
    tensors = model.subgraphs[0].tensors
    inputs = [tensors[i] for i in op.inputs if i >= 0]
    outputs = [tensors[i] for i in op.outputs]
    types = f"{_types(inputs)} → {_types(outputs)}"
    scales = max((len(t.quantization.scale) for t in (*inputs, *outputs)), default=0)
    quantization = ("none", "per tensor", "per channel")[min(scales, 2)]
    return {"types": types, "quantization": quantization}


def _types(tensors: list[Tensor]) -> str:
    """Types in order, equal neighbours once."""
    return ", ".join(str(dtype) for dtype, _ in itertools.groupby(t.dtype for t in tensors)) or "-"


def _rule(refusal: str, name: str) -> str:
    """The sentence without the place before it and the found value behind it."""
    return refusal.removeprefix(f"{place(0, 0, name)}: ").rsplit(": ", 1)[0]


def _write(row: dict[str, Any]) -> None:
    path = Path(FOLDER) / f"{os.getpid()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _explore(model: Model, name: str, types: str) -> None:
    """Write down every exchange of types that `prepare` accepts too."""
    if (name, types) in _explored:
        return
    _explored.add((name, types))
    for changed in exchanged(model):
        try:
            prepare_model(changed, TflmBuild.wheel())
        except malformed.REFUSALS:
            continue
        row = {"name": name, **_signature(changed, changed.subgraphs[0].operators[0])}
        _explored.add((name, row["types"]))
        _write(row)


def exchanged(model: Model) -> Iterator[Model]:
    """The model with each type replaced by each other one, at most three kinds at a time."""
    graph = model.subgraphs[0]
    kinds = list(dict.fromkeys(t.dtype for t in graph.tensors))[:3]
    for chosen in itertools.product(TYPES, repeat=len(kinds)):
        swap = dict(zip(kinds, chosen, strict=True))
        for points in (True, False):
            tensors = tuple(_retyped(t, swap.get(t.dtype, t.dtype), points) for t in graph.tensors)
            yield dataclasses.replace(
                model, subgraphs=(dataclasses.replace(graph, tensors=tensors),)
            )


def _retyped(tensor: Tensor, dtype: DType, points: bool) -> Tensor:
    """The tensor in another type; a type that is not quantized usually loses its scales."""
    if dtype is tensor.dtype:
        return tensor
    old = tensor.quantization
    scales = old.scale or (0.5,)
    fresh = Quantization(
        scales, old.zero_point if points and old.zero_point else (0,) * len(scales)
    )
    quantized = dtype in (DType.INT8, DType.INT16, DType.UINT8, DType.INT4)
    changed = dataclasses.replace(
        tensor, dtype=dtype, quantization=fresh if quantized else NO_QUANTIZATION, data=None
    )
    if not tensor.is_constant:
        return changed
    if DType.INT4 in (dtype, tensor.dtype):
        return dataclasses.replace(changed, data=bytes(changed.nbytes))
    values = np.nan_to_num(tensor.array()).astype(dtype.numpy)
    return dataclasses.replace(changed, data=values.tobytes())


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of many lines: counts by operator, types and quantization, and refusals."""
    operators: dict[str, Any] = {}
    for name in sorted({row["name"] for row in rows}):
        mine = [row for row in rows if row["name"] == name]
        ran = [row for row in mine if "values" in row and "rule" not in row]
        models, values = Counter(map(_cell, ran)), Counter()
        for row in ran:
            values[_cell(row)] += row["values"]
        compared = {types for types, _ in models}
        accepted = {row["types"] for row in mine if "values" not in row}
        rules = Counter()
        words: dict[str, str] = {}
        for row in mine:
            if "rule" in row:
                # The same rule with other numbers is one rule.
                key = re.sub(r"(?<![\w.])-?\d[\d.e+-]*(?!\w)", "n", row["rule"])
                words[key] = min(words.get(key, row["rule"]), row["rule"])
                rules[key] += 1
        operators[name] = {
            "compared": [
                {"types": t, "quantization": q, "models": models[t, q], "values": values[t, q]}
                for t, q in sorted(models)
            ],
            "not_compared": sorted(accepted - compared),
            "refused": {words[key]: rules[key] for key in sorted(rules, key=words.__getitem__)},
        }
    return {
        "schema_version": 1,
        "judged_by": {"tflite_micro": TFLM_WHEEL, "revision": TFLM_REVISION},
        "operators": operators,
    }


def _cell(row: dict[str, Any]) -> tuple[str, str]:
    return row["types"], row["quantization"]


def main(folder: str) -> int:
    """Write the record."""
    files = sorted(Path(folder).glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    text = json.dumps(summary(rows), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_files({RECORD: text.encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
