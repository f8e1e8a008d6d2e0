"""The ways to run the keyword spotter on TFLM, and how each is played, measured and compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro import bridge
from refmicro.compare import check_model
from refmicro.errors import OverBudgetError
from refmicro.estimator import estimate
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.program import default_resource_variables
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.plan import plan_offsets
from refmicro.transform.proof import Machine, RefmicroMachine, TflmMachine
from refmicro.transform.reorder import reorder
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.transform.split import Split, SplitMachine, split
from refmicro.types import TflmBuild
from refmicro.zoo import kws
from refmicro.zoo.evaluate import Progress, TflmRun, run_in_tflm, run_whole_in_tflm
from refmicro.zoo.front_end import sound_model
from refmicro.zoo.looped import while_model
from refmicro.zoo.streaming import (
    StreamingOptions,
    float_grids,
    quantised_frames,
    streaming_model,
    wide_grids,
)
from refmicro.zoo.training import Trained
from refmicro.zoo.unrolled import unrolled_model

Built = Model | Split
Make = Callable[[kws.Result, Trained], Built]

_SEARCH_S = 5.0
"""For each search of an order, a plan or cuts."""


@dataclass(frozen=True)
class Strategy:
    """One way to run the model on TFLM.

    Attributes:
        name, note: for the table.
        make: the model, or its parts, from a run and one of its stages.
        whole: the model takes a clip at once, else a frame.
        integer: there is a difference between calibrated and tuned weights.
        sound: the model takes samples, of a run whose features are TFLM's.
    """

    name: str
    note: str
    make: Make
    whole: bool = False
    integer: bool = True
    sound: bool = False


def _grids(result: kws.Result, stage: Trained) -> dict[str, Any]:
    return stage.grids or result.trained.grids


def _streaming(**options: Any) -> Make:
    def make(result: kws.Result, stage: Trained) -> Model:
        grids = _grids(result, stage)
        if options.get("bits") == 16:
            grids = wide_grids(grids)
        if options.get("bits") == 32:
            grids = float_grids(grids)
        model = result.config.model
        return streaming_model(model, stage.parameters, grids, StreamingOptions(**options))

    return make


def _unrolled(result: kws.Result, stage: Trained) -> Model:
    return unrolled_model(result.config.model, stage.parameters, _grids(result, stage))


def _while(result: kws.Result, stage: Trained) -> Model:
    return while_model(result.config.model, stage.parameters, _grids(result, stage))


def _sound(result: kws.Result, stage: Trained) -> Model:
    config, normaliser = result.config, result.data.normaliser
    grids = _grids(result, stage)
    return sound_model(config.model, config.features, stage.parameters, grids, normaliser)


def with_scan(make: Make) -> Make:
    """The same with SELECTIVE_SCAN, in the best order and plan that is found."""

    def fused(result: kws.Result, stage: Trained) -> Model:
        model = fuse_scan(make(result, stage)).model
        build = TflmBuild.firmware()
        model = reorder(model, build=build, in_place=True, time_limit_s=_SEARCH_S).model
        model = plan_offsets(model, build=build, time_limit_s=_SEARCH_S).model
        return parse_model(write_model(model))

    return fused


def _split(result: kws.Result, stage: Trained) -> Split:
    """The unrolled model in parts, within the smallest of some shares of what it needs whole."""
    model = _unrolled(result, stage)
    whole = estimate(model, abi="ilp32").arena["required_bytes"]
    for percent in SPLIT_PERCENT:
        try:
            return split(model, whole * percent // 100, repeats=False, time_limit_s=_SEARCH_S)
        except OverBudgetError:
            continue
    return split(model, whole, time_limit_s=_SEARCH_S)


SPLIT_PERCENT = (62, 75, 90)
"""Shares of the whole model's arena that are tried; what all frames have at once stays."""


STRATEGIES = (
    Strategy(
        "streaming, in place, shared bytes",
        "int8; state in variable tensors, temporaries share bytes by an offline plan",
        _streaming(),
    ),
    Strategy(
        "streaming, SELECTIVE_SCAN",
        "the same model with the scan as one custom operator, whose C++ registration runs in "
        "stock TFLM",
        with_scan(_streaming()),
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
    Strategy("unrolled", "int8; all frames at once, a chain of T steps", _unrolled, whole=True),
    Strategy(
        "unrolled and split",
        "the unrolled model cut into models that run one after another in one arena; arena and "
        "what is carried between parts together, but tried is the largest part alone",
        _split,
        whole=True,
    ),
    Strategy(
        "unrolled, SELECTIVE_SCAN",
        "all frames at once, the whole chain as one custom operator",
        with_scan(_unrolled),
        whole=True,
    ),
    Strategy("WHILE loop", "int8; the streaming step as the body of a loop", _while, whole=True),
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
"""Of a run with any features."""

SOUND_STRATEGIES = (
    Strategy(
        "sound in, label out",
        "int16 samples to logits in one graph: TFLM's signal operators before the streaming step; "
        "trained on the features that these operators give",
        _sound,
        sound=True,
    ),
    Strategy(
        "sound in, label out, SELECTIVE_SCAN",
        "the same with the scan as one custom operator",
        with_scan(_sound),
        sound=True,
    ),
)
"""Of a run with the features of TFLM's operators."""


# Running


def play_in_tflm(
    strategy: Strategy, built: Built, clips: np.ndarray, what: str, progress: Progress
) -> TflmRun:
    """What TFLM gives for clips, each from reset."""
    if isinstance(built, Split):
        return _play_parts(built, clips, what, progress)
    play = run_whole_in_tflm if strategy.whole else run_in_tflm
    return play(built, clips, what=what, progress=progress)


def _play_parts(built: Split, clips: np.ndarray, what: str, progress: Progress) -> TflmRun:
    machine = SplitMachine(built, [_readable(model) for model in built.models], _in_tflm)
    outputs, spent = [], 0.0
    rows = _whole_inputs(built, clips)
    for number, row in enumerate(rows):
        began = time.perf_counter()
        (found,) = machine.invoke([row])
        spent += time.perf_counter() - began
        outputs.append(found[0])
        progress(what, number + 1, len(rows))
    return TflmRun(np.array(outputs), spent / clips.shape[0] / clips.shape[1])


def _in_tflm(model: Model) -> Machine:
    return TflmMachine(model, custom_ops=custom_ops_of(model))


def _readable(model: Model) -> Model:
    return parse_model(write_model(model))


def _whole_inputs(built: Split, clips: np.ndarray) -> np.ndarray:
    tensor = built.source.tensors[built.source.inputs[0]]
    return quantised_frames(Model((built.source,)), clips).reshape(-1, *tensor.shape)


def play_in_refmicro(strategy: Strategy, built: Built, clips: np.ndarray) -> np.ndarray:
    """The same in refmicro: the answers, (N, classes)."""
    if isinstance(built, Split):
        machine = SplitMachine(built, [_readable(m) for m in built.models], RefmicroMachine)
        return np.array([machine.invoke([row])[0][0] for row in _whole_inputs(built, clips)])
    interpreter = Interpreter(built)
    values = quantised_frames(built, clips)
    if strategy.whole:
        shape = interpreter.get_input_details(0).shape
        return interpreter.invoke_batch([values.reshape(-1, *shape)])[0][:, 0]
    if interpreter.input_count == 1:
        return interpreter.invoke_sequence([values[:, :, None, :]])[0][:, -1, 0]
    return _carried_in_refmicro(interpreter, values)


def _carried_in_refmicro(interpreter: Interpreter, clips: np.ndarray) -> np.ndarray:
    """A step model whose inputs after the first are carried on from its outputs."""
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


def plays_everything(strategy: Strategy, built: Built) -> bool:
    """Whether refmicro plays many clips to a model at once."""
    return not strategy.whole and isinstance(built, Model) and len(built.subgraphs[0].inputs) == 1


# Measuring


def checked(built: Built, name: str) -> bool:
    """Whether refmicro and TFLM agree on random inputs, tensor by tensor, in every part."""
    return all(check_model(model, name, count=4).equal for model in _models(built))


def _models(built: Built) -> Sequence[Model]:
    return [_readable(m) for m in built.models] if isinstance(built, Split) else [built]


def memory(built: Built, frames: int, frames_per_second: float) -> dict[str, Any]:
    """Arena of a Cortex-M, smallest arena of the wheel predicted and tried, work a second.

    Args:
        built: one model or many.
        frames: of one invocation.
        frames_per_second: of sound.
    """
    models = _models(built)
    counted = [estimate(model, abi="ilp32") for model in models]
    predicted = [estimate(model, abi="lp64").arena["required_bytes"] for model in models]
    tried = [_smallest(model) for model in models]
    calls = [call.model for call in built.calls] if isinstance(built, Split) else [0]
    arena = {name: value for name, value in counted[0].arena.items() if name.endswith("_bytes")}
    if isinstance(built, Split):
        arena = {"required_bytes": built.layout.total_bytes, "used_bytes": built.layout.total_bytes}
    macs = sum(counted[number].macs for number in calls)
    operators = sum(models[number].operator_count for number in calls)
    executed = sum(_executed(models[number], frames) for number in calls)
    return {
        "arena": arena,
        "parts": len(calls),
        "smallest_lp64_bytes": {"predicted": max(predicted), "tried": max(tried)},
        "smallest_as_predicted": predicted == tried,
        "flash_bytes": sum(len(model.source or b"") for model in models),
        "operators": operators,
        "operators_per_frame": executed / frames,
        "operators_per_second": executed / frames * frames_per_second,
        "macs_per_frame": macs / frames,
        "macs_per_second": macs / frames * frames_per_second,
    }


def _executed(model: Model, frames: int) -> int:
    """Operators that one invocation runs; a loop takes a frame at a time."""
    graphs = model.subgraphs
    count = len(graphs[0].operators)
    for op in graphs[0].operators:
        if op.name == "WHILE":
            condition = graphs[op.options["cond_subgraph_index"]]
            body = graphs[op.options["body_subgraph_index"]]
            count += (frames + 1) * len(condition.operators) + frames * len(body.operators)
    return count


def _smallest(model: Model) -> int:
    options = {
        "resource_variables": default_resource_variables(model),
        "custom_ops": custom_ops_of(model),
    }
    return bridge.smallest_arena(model.source or b"", **options)
