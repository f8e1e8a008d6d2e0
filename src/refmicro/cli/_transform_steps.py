"""The steps of `refmicro transform`: one entry here makes a transform part of the command.

They run in this order, whatever the order of the flags: first what makes the model another one,
then the order of operators, which a cut may follow, and last the memory plan of what came of it.
What a step or a loop was made of is fused before and after, where that is asked for.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refmicro.cli._transform_stream import (
    apply_stream,
    apply_while,
    configure_stream,
    configure_while,
)

if TYPE_CHECKING:
    from refmicro.model.graph import Model
    from refmicro.transform.stage import Facts, Stage
    from refmicro.types import TflmBuild

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """One transform in the command line.

    Attributes:
        flag: what asks for it.
        configure: adds its arguments.
        apply: gives the next stage; called where the flag is given.
    """

    flag: str
    configure: Callable[[argparse.ArgumentParser], None]
    apply: Callable[[Stage, argparse.Namespace, Progress], Stage]

    def wanted(self, args: argparse.Namespace) -> bool:
        """Whether the command line asks for it."""
        return is_given(args, self.flag)


def is_given(args: argparse.Namespace, flag: str) -> bool:
    """Whether a flag stands on the command line; all of them are off by default."""
    value = getattr(args, flag.removeprefix("--").replace("-", "_"))
    return value is not None and value is not False


OPTIONS = {
    "--allow-changes": ("--fuse", "--stream"),
    "--wide-state": ("--fuse-scan",),
    "--time-axis": ("--stream", "--one-scale"),
    "--mean": ("--stream",),
    "--state": ("--stream", "--while"),
    "--state-scale": ("--stream", "--while"),
    "--collect": ("--while",),
    "--head": ("--while",),
    "--no-repeats": ("--split",),
}
"""Flags that say how a step is done, and the steps of which one must be wanted."""


def _switch(flag: str, text: str) -> Callable[[argparse.ArgumentParser], None]:
    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(flag, action="store_true", help=text)

    return configure


# fuse


def _configure_fuse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fuse",
        action="store_true",
        help="float functions between DEQUANTIZE and QUANTIZE to integer operators, copies and "
        "repeated work removed, frames of a streaming convolution held once",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="with --fuse or --stream: also where numbers change; how far they do is measured",
    )


def _apply_fuse(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    # Frames in a CIRCULAR_BUFFER are a state that no step model, loop or buffer can take over.
    takes_over = is_given(args, "--stream") or is_given(args, "--while") or args.split
    return _fused(stage, args, registers=not takes_over)


def _then_fused(
    apply: Callable[[Stage, argparse.Namespace, Progress], Stage],
) -> Callable[[Stage, argparse.Namespace, Progress], Stage]:
    """A step after which its result is fused, if that is wanted."""

    def both(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
        result = apply(stage, args, progress)
        if not args.fuse or result is stage:
            return result
        return _fused(result, args, registers=not args.split)

    return both


def _fused(stage: Stage, args: argparse.Namespace, *, registers: bool) -> Stage:
    from refmicro.transform.fuse import fuse
    from refmicro.transform.shift_register import fuse_shift_registers

    changes: list[str] = []

    def transform(model: Model) -> tuple[Model, Facts]:
        fused = fuse(model, changes=args.allow_changes)
        changes.extend(fused.changes)
        result, removed = fused.model, fused.removed
        if registers:
            shifted = fuse_shift_registers(result)
            result, removed = shifted.model, (*removed, *shifted.removed)
        return result, {
            "transform": "fuse",
            "operators_before": fused.operators_before,
            "operators_after": result.operator_count,
            "tensors_before": fused.tensors_before,
            "tensors_after": sum(len(graph.tensors) for graph in result.subgraphs),
            "removed": list(removed),
            "changes": list(fused.changes),
            "kept": list(fused.kept),
        }

    stage = stage.map(transform)
    return dataclasses.replace(stage, changes_numbers=(*stage.changes_numbers, *changes))


def _apply_per_tensor(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.transform.fuse import per_channel_to_per_tensor

    changes: list[str] = []

    def transform(model: Model) -> tuple[Model, Facts]:
        result = per_channel_to_per_tensor(model)
        changes.extend(result.changes)
        return result.model, {"transform": "per-tensor", "changes": list(result.changes)}

    stage = stage.map(transform)
    return dataclasses.replace(stage, changes_numbers=(*stage.changes_numbers, *changes))


# fuse-scan


def _configure_fuse_scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fuse-scan",
        action="store_true",
        help="the step of a selective scan to one SELECTIVE_SCAN; its C++ registration for "
        "firmware is written beside the model",
    )
    parser.add_argument(
        "--wide-state",
        action="store_true",
        help="with --fuse-scan: keep the state in 16 bits, which changes numbers",
    )


def _apply_fuse_scan(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.transform.fuse_scan import fuse_scan
    from refmicro.transform.selective_scan_cc import custom_op, registration_source

    changes: list[str] = []

    def transform(model: Model) -> tuple[Model, Facts]:
        fused = fuse_scan(model, wide_state=args.wide_state)
        changes.extend(fused.changes)
        return fused.model, {
            "transform": "fuse-scan",
            "scans": [{"steps": t, "depth": d, "state": n} for t, d, n in fused.scans],
            "removed": list(fused.removed),
            "changes": list(fused.changes),
        }

    stage = stage.map(transform)
    return dataclasses.replace(
        stage,
        changes_numbers=(*stage.changes_numbers, *changes),
        files={**stage.files, "selective_scan.cc": registration_source().encode()},
        custom_ops=tuple(dict.fromkeys((*stage.custom_ops, custom_op()))),
    )


# one scale


def _apply_one_scale(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.transform.one_scale import one_scale

    changes: list[str] = []

    def transform(model: Model) -> tuple[Model, Facts]:
        result = one_scale(model, time_axis=args.time_axis)
        changes.extend(result.changes)
        return result.model, {
            "transform": "one-scale",
            "frames": result.frames,
            "changes": list(result.changes),
        }

    stage = stage.map(transform)
    return dataclasses.replace(stage, changes_numbers=(*stage.changes_numbers, *changes))


# reorder, split and plan


def _apply_reorder(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.transform.reorder import reorder

    def transform(model: Model) -> tuple[Model, Facts]:
        result = reorder(
            model,
            build=_build(args),
            in_place=args.plan,
            time_limit_s=args.time_limit,
            progress=progress,
        )
        return result.model, {
            "transform": "reorder",
            "moved": result.moved,
            "source_peak_bytes": result.source_peak_bytes,
            "peak_bytes": result.peak_bytes,
            "lower_bound_bytes": result.lower_bound_bytes,
            "optimal": result.optimal,
        }

    return stage.map(transform)


def _configure_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split",
        metavar="MAX_ARENA",
        help="cut the model into parts that run one after another in one arena; parts and what "
        "they carry keep within this, such as 64KiB; OUT is a folder, with a manifest and C++",
    )
    parser.add_argument(
        "--no-repeats",
        action="store_true",
        help="with --split: the fewest calls, also where cuts along operators that repeat would "
        "make the models smaller",
    )


def _apply_split(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.errors import UsageError
    from refmicro.report.units import parse_quantity
    from refmicro.transform.plan import plan_offsets
    from refmicro.transform.split import SplitMachine, split
    from refmicro.transform.split_files import split_files
    from refmicro.transform.stage import Part

    def planned(part: Model) -> Model:
        return plan_offsets(part, build=_build(args), time_limit_s=args.time_limit).model

    limit = parse_quantity(args.split, "--split")
    if limit < 1:
        raise UsageError(
            f"--split takes the bytes that there are for the arena: {args.split}",
            hint="for example --split 48KiB",
        )
    if len(stage.parts) != 1:
        raise UsageError(f"--split cuts one model: there are {len(stage.parts)} parts by now")
    result = split(
        stage.parts[0].model,
        limit,
        build=_build(args),
        repeats=not args.no_repeats,
        planned=planned if args.plan else None,
        time_limit_s=args.time_limit,
        progress=progress,
    )
    models = tuple(map(planned, result.models)) if args.plan else result.models
    layout = result.layout_of(models) if args.plan else result.layout
    names = [f"part_{number:02}" for number in range(len(result.models))]
    facts = {
        "transform": "split",
        "max_bytes": limit,
        "buffer_bytes": layout.total_bytes,
        "lower_bound_bytes": layout.lower_bound_bytes,
        "most_carried_bytes": layout.carried_bytes,
        "state_bytes": sum(len(item.initial) for item in result.kept),
        "calls": len(result.calls),
        "models": len(result.models),
        "models_bytes": result.models_bytes,
        "repeated": result.repeated,
        "optimal": result.optimal,
    }
    name, whole = stage.parts[0].name, stage.models

    return dataclasses.replace(
        stage,
        parts=tuple(Part(*item) for item in zip(names, models, strict=True)),
        arrange=lambda models, open_model: stage.arrange(
            whole, lambda model: SplitMachine(result, models, open_model)
        ),
        facts=(*stage.facts, facts),
        finish=lambda models: split_files(result, names, models, name),
    )


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan",
        action=argparse.BooleanOptionalAction,
        help="the best memory plan, written as metadata that TFLM obeys (done without being asked "
        "for where the source has a plan, because a plan holds for one graph only)",
    )


def _apply_plan(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    from refmicro.transform.plan import plan_offsets

    def transform(model: Model) -> tuple[Model, Facts]:
        result = plan_offsets(
            model, build=_build(args), time_limit_s=args.time_limit, progress=progress
        )
        return result.model, {
            "transform": "plan",
            "asked_for": args.plan_asked_for,
            "changed": result.changed,
            "head_bytes": result.head_bytes,
            "lower_bound_bytes": result.lower_bound_bytes,
            "optimal": result.optimal,
            "shared": result.shared,
            "variables_planned": result.variables_planned,
        }

    return stage.map(transform)


def _build(args: argparse.Namespace) -> TflmBuild:
    from refmicro.types import TflmBuild

    if args.abi == "lp64":
        return TflmBuild.wheel()
    return TflmBuild.firmware(kernels=args.kernels)


STEPS: tuple[Step, ...] = (
    Step("--fuse", _configure_fuse, _apply_fuse),
    Step(
        "--per-tensor",
        _switch(
            "--per-tensor",
            "FULLY_CONNECTED weights with one scale for all channels, which changes numbers",
        ),
        _apply_per_tensor,
    ),
    Step("--fuse-scan", _configure_fuse_scan, _apply_fuse_scan),
    Step(
        "--one-scale",
        _switch(
            "--one-scale",
            "the frames of an unrolled recurrence on one scale each, so that they repeat and "
            "--split makes them one model; changes numbers",
        ),
        _apply_one_scale,
    ),
    Step("--stream", configure_stream, _then_fused(apply_stream)),
    Step("--while", configure_while, _then_fused(apply_while)),
    Step(
        "--reorder",
        _switch("--reorder", "operators in the order with the smallest peak of memory"),
        _apply_reorder,
    ),
    Step("--split", _configure_split, _apply_split),
    Step("--plan", _configure_plan, _apply_plan),
)
