"""`refmicro explain`: the arithmetic of one element, one allocation, one line that TFLM prints."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from refmicro.explain.allocation import Explanation, PlaceExplanation
    from refmicro.explain.element import ElementExplanation
    from refmicro.model.graph import Model
    from refmicro.types import TflmBuild

NEIGHBOURS_SHOWN = 12
"""`--json` has them all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", nargs="?", help="a .tflite file; not needed with --error")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--element",
        metavar="SUBGRAPH:TENSOR:INDEX",
        help="how this element is computed, each rounding on a line; INDEX is one number an axis "
        "with commas, or one flat number",
    )
    what.add_argument(
        "--tensor", metavar="SUBGRAPH:TENSOR", help="why this tensor lies where it lies"
    )
    what.add_argument(
        "--allocation",
        type=int,
        metavar="N",
        help="the allocation of this number: planned buffers in the planner's order, then the tail",
    )
    what.add_argument(
        "--error", metavar="LINE", help="what a line that TFLM prints means and what to do"
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="IN.npz",
        help="with --element: arrays named by input index, of the tensors' shapes",
    )
    parser.add_argument(
        "--abi",
        choices=("ilp32", "lp64"),
        default="ilp32",
        help="whose arena: a Cortex-M firmware's (default) or the wheel's",
    )
    parser.add_argument(
        "--kernels",
        choices=("reference", "cmsis-nn"),
        default="reference",
        help="which kernels the firmware is built with (default: reference)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if args.error is not None:
        document, text = _error(args.error)
    else:
        document, text = _of_model(args)
    if args.json:
        json.dump({"schema_version": 1, **document}, sys.stdout, indent=1)
        print()
    else:
        print(text)
    return 0


def _error(line: str) -> tuple[dict[str, Any], str]:
    import dataclasses

    from refmicro.explain.tflm_errors import explain_line

    found = explain_line(line)
    texts = [
        f"{item.line}\n  means:  {item.meaning}\n  do:     {item.remedy}\n  source: {item.source}"
        for item in found
    ]
    return {"lines": [dataclasses.asdict(item) for item in found]}, "\n\n".join(texts)


def _of_model(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from refmicro.errors import UsageError
    from refmicro.model.reader import read_model

    if args.model is None:
        raise UsageError("a model is needed", hint="refmicro explain MODEL --element 0:3:17 ...")
    if (args.element is None) != (args.input is None):
        raise UsageError("--element and --input IN.npz go together")
    model = read_model(args.model)
    if args.element is not None:
        return _element(model, args)
    from refmicro.explain.allocation import explain_allocation, explain_tensor

    build = _build(args)
    if args.tensor is not None:
        graph, tensor = _numbers(args.tensor, 2, "--tensor")[:2]
        return _allocation(explain_tensor(model, graph, tensor, build))
    return _allocation(explain_allocation(model, args.allocation, build))


def _numbers(text: str, count: int, flag: str) -> list[int]:
    """Numbers between colons; the last part may hold several, with commas."""
    from refmicro.errors import UsageError

    parts = text.split(":")
    numbers = [*parts[: count - 1], *parts[-1].split(",")]
    single = count < 3 and len(numbers) != count
    if len(parts) != count or single or not all(item.strip().isdecimal() for item in numbers):
        form = "SUBGRAPH:TENSOR:INDEX" if count == 3 else "SUBGRAPH:TENSOR"
        raise UsageError(f"{flag} must be {form}: found '{text}'", hint="such as 0:3:17 or 0:3")
    return [int(item) for item in numbers]


def _build(args: argparse.Namespace) -> TflmBuild:
    from refmicro.types import TflmBuild

    if args.abi == "lp64":
        return TflmBuild.wheel()
    return TflmBuild.firmware(kernels=args.kernels)


# One element


def _element(model: Model, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    import dataclasses

    from refmicro._files import read_npz
    from refmicro.explain.element import explain_element

    graph, tensor, *index = _numbers(args.element, 3, "--element")
    inputs = _inputs(model, read_npz(args.input))
    found = explain_element(model, inputs, (graph, tensor, index))
    return {"element": dataclasses.asdict(found)}, _element_text(found)


def _inputs(model: Model, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """One vector; of arrays with a batch axis the first row."""
    import numpy as np

    from refmicro.errors import UsageError

    graph = model.subgraphs[0]
    wanted = [str(number) for number in range(len(graph.inputs))]
    if sorted(arrays) != sorted(wanted):
        raise UsageError(
            f"the model's inputs are named {', '.join(wanted)}: the archive holds "
            f"{', '.join(sorted(arrays)) or 'nothing'}",
            hint="numpy.savez(path, **{'0': first, '1': second})",
        )
    inputs = []
    for number, index in enumerate(graph.inputs):
        item, array = graph.tensors[index], arrays[str(number)]
        if array.shape[1:] == item.shape and array.ndim == len(item.shape) + 1 and len(array):
            array = array[0]
        if array.shape != item.shape or array.dtype != np.dtype(item.dtype.numpy):
            raise UsageError(
                f"input {number} must be {item.dtype}{list(item.shape)}: found "
                f"{array.dtype}{list(array.shape)}"
            )
        inputs.append(array)
    return inputs


def _element_text(found: ElementExplanation) -> str:
    where = f"{found.subgraph}:{found.tensor}[{','.join(map(str, found.index))}]"
    name = f" '{found.name}'" if found.name else ""
    real = "" if found.real is None else f", which stands for {found.real:.6g}"
    lines = [f"element {where}{name} is {found.value}{real}"]
    if found.operator is None:
        return f"{lines[0]}\nit is {'an' if found.operator_name[0] in 'aeiou' else 'a'} " + (
            f"{found.operator_name}, nothing computes it"
        )
    lines.append(f"written by operator {found.operator}, {found.operator_name}")
    lines.append(f"  {found.formula}")
    if not found.is_worked:
        lines.append("its operands (the steps of this operator are not written out):")
    for step in found.steps:
        lines.append(f"  {step.text}: {step.value}")
        lines += [f"    {term}" for term in step.terms]
    if found.is_worked:
        lines.append(f"equal to the interpreter's value: {found.value}")
    return "\n".join(lines)


# One allocation


def _allocation(found: Explanation) -> tuple[dict[str, Any], str]:
    import dataclasses

    from refmicro.explain.allocation import PlaceExplanation

    document = {"allocation": dataclasses.asdict(found)}
    if isinstance(found, PlaceExplanation):
        return document, _place_text(found)
    return document, "\n".join([found.label, *(f"  {text}" for text in found.sentences)])


def _place_text(found: PlaceExplanation) -> str:
    buffer = found.buffer
    lines = [
        f"{buffer.label}: {buffer.bytes:,} bytes at {buffer.offset:,} in the head",
        f"  {found.what}",
        f"  placed as number {found.turn} of {found.turns}: offline places first, then the "
        "largest, of equals the last one",
    ]
    if buffer.offline:
        lines.append("  its place is from the model's offline plan; TFLM does not look further")
    count = len(found.neighbours)
    lines.append(f"  {count} buffers placed before it live at one time with it")
    for other in found.neighbours[:NEIGHBOURS_SHOWN]:
        place = f"{other.offset:>9,} .. {other.offset + other.bytes:>9,}"
        lines.append(f"    {place}  {other.label}, steps {other.first} to {other.last}")
    if count > NEIGHBOURS_SHOWN:
        lines.append(f"    and {count - NEIGHBOURS_SHOWN} more")
    lines += [
        f"  a gap of {size:,} bytes at {offset:,} is too small" for offset, size in found.gaps
    ]
    if not buffer.offline:
        where = "the arena's start" if found.above == 0 else f"{found.above:,}, above what is below"
        lines.append(f"  the lowest place with room is at {where}")
    return "\n".join(lines)
