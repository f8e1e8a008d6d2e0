"""`refmicro transform --stream` and `--while`: whole sequences to steps, and steps to loops."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refmicro.model.graph import Model
    from refmicro.transform.proof import Machine, Open
    from refmicro.transform.stage import Stage
    from refmicro.transform.step_model import State, StepModel
    from refmicro.transform.stream import Streamed
    from refmicro.types import Tensor

    Progress = Callable[[str, int, int], None]

FORMS = ("io", "resource", "variable")


def configure_stream(parser: argparse.ArgumentParser) -> None:
    """`--stream` and what says how."""
    parser.add_argument(
        "--stream",
        nargs="?",
        const="io",
        choices=FORMS,
        help="a causal model over T frames becomes a step model of one frame, with its state as "
        "inputs and outputs (default), resource variables or variable tensors; a step model gets "
        "the other form of its state",
    )
    parser.add_argument(
        "--time-axis",
        type=int,
        metavar="N",
        help="with --stream: the axis of time of the inputs (default: 1 of three or more, else 0)",
    )
    parser.add_argument(
        "--mean",
        choices=("running", "window"),
        help="with --stream: how a mean over time is kept, as a sum that may round otherwise "
        "(default), or as a window of all frames, which is exact",
    )
    parser.add_argument(
        "--state",
        metavar="IN:OUT,...",
        help="with --stream or --while: which inputs of a step model are what its outputs were a "
        "step before, such as 1:1,2:2 (default: by their shapes, with --while)",
    )
    parser.add_argument(
        "--state-scale",
        choices=("requantize", "reinterpret"),
        help="with --stream or --while: a state that comes back on another scale than it goes in "
        "is rescaled, as a caller must do, or read on the new scale, which changes numbers",
    )


def configure_while(parser: argparse.ArgumentParser) -> None:
    """`--while` and what says how."""
    parser.add_argument(
        "--while",
        type=int,
        metavar="T",
        help="a step model becomes a model over T frames that runs it in a WHILE loop; with "
        "--stream a model over T frames becomes a loop",
    )
    parser.add_argument(
        "--collect",
        choices=("last", "all", "mean"),
        help="with --while: what the loop gives: the last result (default), all, or their mean",
    )
    parser.add_argument(
        "--head",
        metavar="HEAD",
        help="with --while: a .tflite file that runs once on what was collected",
    )


def apply_stream(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    """The stage with a step model; the loop of `--while` makes its own."""
    if steps_of(args) is not None:
        return stage
    from refmicro.transform.stage import Part
    from refmicro.transform.step_model import with_state

    model = _only(stage, "--stream")
    if args.state is not None or _keeps_state(model):
        step, stage = _step(stage, model, args, found=())
        arrange = _step_arrangement(step, args.stream)
        facts = {"transform": "stream", "form": args.stream, "frames": 1}
        made, changes = with_state(step, args.stream), ()
    else:
        streamed = _streamed(model, args)
        step, (made,) = streamed.step, streamed.parts
        arrange, changes = streamed.arrangement_of, streamed.changes
        facts = {"transform": "stream", "form": args.stream, "frames": streamed.steps}
    facts |= {
        "state_bytes": step.state_bytes,
        "states": _states(step, carried=args.stream == "io"),
        "changes": [*step.changes, *(text for text in changes if text not in step.changes)],
    }
    (part,) = stage.parts
    return dataclasses.replace(
        stage,
        parts=(Part(part.name, made),),
        arrange=arrange,
        facts=(*stage.facts, facts),
        changes_numbers=(*stage.changes_numbers, *changes),
    )


def apply_while(stage: Stage, args: argparse.Namespace, progress: Progress) -> Stage:
    """The stage with a loop."""
    from refmicro.transform.stage import Part

    model = _only(stage, "--while")
    make = _loop_of_sequence if args.stream else _loop_of_step
    looped, step, stage = make(stage, model, args)
    facts = {
        "transform": "while",
        "frames": looped.steps,
        "collect": looped.collect,
        "exact_sum": looped.exact_sum,
        "state_bytes": step.state_bytes,
        "states": _states(step, carried=False),
        "changes": list(step.changes),
    }
    (part,) = stage.parts
    return dataclasses.replace(
        stage, parts=(Part(part.name, looped.model),), facts=(*stage.facts, facts)
    )


def steps_of(args: argparse.Namespace) -> int | None:
    """T of `--while`, whose name is a keyword of Python."""
    return getattr(args, "while")


def _loop_of_sequence(stage: Stage, model: Model, args: argparse.Namespace) -> tuple[Any, ...]:
    """A model over T frames as a loop, with the same interface."""
    from refmicro.errors import UsageError
    from refmicro.transform.while_loop import while_loop

    if args.collect is not None or args.head is not None or args.state is not None:
        raise UsageError(
            "--collect, --head and --state are for a step model: with --stream the source itself "
            "says what is collected"
        )
    streamed = _streamed(model, args)
    if streamed.steps != steps_of(args):
        raise UsageError(
            f"the loop must have as many steps as the source has frames, {streamed.steps}: "
            f"--while {steps_of(args)}"
        )
    axis = streamed.output_axes[0]
    collect = "last" if axis is None else "all"
    looped = while_loop(streamed.step, streamed.steps, collect=collect, axes=streamed.input_axes)
    stage = dataclasses.replace(
        stage,
        arrange=lambda models, open_model: _Along(axis, open_model(models[0])),
        changes_numbers=(*stage.changes_numbers, *streamed.changes),
    )
    return looped, streamed.step, stage


class _Along:
    """A loop whose results, if it gives all, are put together along the source's axis of time."""

    def __init__(self, axis: int | None, machine: Machine) -> None:
        self._axis = axis
        self._machine = machine

    def reset(self) -> None:
        """See `proof.Machine`."""
        self._machine.reset()

    def invoke(self, inputs: Sequence[Any]) -> list[Any]:
        """See `proof.Machine`."""
        import numpy as np

        outputs = self._machine.invoke(inputs)
        if self._axis is None:
            return outputs
        return [np.concatenate(list(output), self._axis) for output in outputs]


def _loop_of_step(stage: Stage, model: Model, args: argparse.Namespace) -> tuple[Any, ...]:
    """A loop around a step model; the source, called once for each frame, is what it must equal."""
    from refmicro.model.reader import read_model
    from refmicro.transform.proof import Seen
    from refmicro.transform.step_model import state_pairs
    from refmicro.transform.while_loop import while_loop

    source, pairs = stage.source, state_pairs(model) if args.state is None else ()
    step, stage = _step(stage, model, args, found=pairs)
    called = stage.seen
    looped = while_loop(
        step,
        steps_of(args),
        collect=args.collect or "last",
        head=None if args.head is None else read_model(args.head),
    )
    graph = looped.model.subgraphs[0]

    def arrange(open_model: Open) -> Machine:
        machine = open_model(source) if called is None else called.arrange(open_model)
        return looped.around(machine, open_model)

    inputs = tuple(graph.tensors[i] for i in graph.inputs)
    stage = dataclasses.replace(stage, seen=Seen(inputs, False, arrange))
    return looped, step, stage


def _step(
    stage: Stage, model: Model, args: argparse.Namespace, *, found: Sequence[tuple[int, int]]
) -> tuple[StepModel, Stage]:
    """What a step model computes, and the stage that knows how its source is called."""
    from refmicro.transform.calling import call_source, parse_pairs
    from refmicro.transform.proof import Seen
    from refmicro.transform.step_model import read_step

    pairs = tuple(found) if args.state is None else parse_pairs(args.state)
    mismatch = args.state_scale or "refuse"
    step = read_step(model, pairs=pairs, mismatch=mismatch)
    if not pairs:
        return step, stage
    source = stage.source
    changes = step.changes if mismatch == "reinterpret" else ()

    def arrange(open_model: Open) -> Machine:
        return call_source(source, step, pairs, open_model)

    seen = Seen(tuple(step.tensors[i] for i in step.frames), True, arrange)
    changes = (*stage.changes_numbers, *changes)
    return step, dataclasses.replace(stage, seen=seen, changes_numbers=changes)


def _step_arrangement(step: StepModel, form: str) -> Callable[[Sequence[Model], Open], Machine]:
    from refmicro.transform.calling import call_step

    return lambda models, open_model: call_step(step, form, models[0], open_model)


def _streamed(model: Model, args: argparse.Namespace) -> Streamed:
    from refmicro.transform.stream import stream

    return stream(
        model,
        time_axis=args.time_axis,
        mean=args.mean or "running",
        changes=args.allow_changes,
        form=args.stream,
    )


def _keeps_state(model: Model) -> bool:
    from refmicro.program import has_state, prepare_model
    from refmicro.types import TflmBuild

    return has_state(prepare_model(model, TflmBuild.wheel()))


def _only(stage: Stage, flag: str) -> Model:
    from refmicro.errors import UsageError

    if len(stage.parts) != 1:
        raise UsageError(f"{flag} takes one model: there are {len(stage.parts)} parts by now")
    return stage.parts[0].model


def _states(step: StepModel, *, carried: bool) -> list[dict[str, Any]]:
    """What is kept, for the report; with the numbers of its input and output if carried outside."""
    found = []
    for number, state in enumerate(step.states):
        tensor = step.tensors[state.old]
        facts: dict[str, Any] = {"name": state.name or f"state{number}"}
        if carried:
            facts["input"] = len(step.frames) + number
            facts["output"] = len(step.outputs) + number
        found.append(
            {
                **facts,
                "bytes": tensor.nbytes,
                "type": tensor.dtype.name,
                "shape": list(tensor.shape),
                "initial": _initial(tensor, state),
            }
        )
    return found


def _initial(tensor: Tensor, state: State) -> int | float | list[Any]:
    """The first value of every element where they are equal, else all of them."""
    import numpy as np

    values = np.frombuffer(state.initial, tensor.dtype.numpy)
    same = values.size and (values == values[0]).all()
    return values[0].item() if same else values.tolist()
