"""Accuracy of an integer model over whole clips, in the real TFLM and in refmicro."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refmicro import bridge
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.program import default_resource_variables
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.zoo.streaming import quantised_frames

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers with the 95 % interval of Wilson, and over how many clips."""

    share: float
    low: float
    high: float
    clips: int

    @staticmethod
    def of(right: np.ndarray) -> Accuracy:
        """From one boolean a clip."""
        count, share, z = len(right), float(np.mean(right)), 1.959964
        centre = (share + z * z / (2 * count)) / (1 + z * z / count)
        half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
        half /= 1 + z * z / count
        return Accuracy(share, centre - half, centre + half, count)


@dataclass(frozen=True)
class TflmRun:
    """What TFLM gave: the outputs after each clip, (N, classes), and seconds a frame."""

    outputs: np.ndarray
    frame_s: float


def run_in_tflm(
    model: Model,
    frames: np.ndarray,
    *,
    what: str = "TFLM",
    progress: Progress = lambda what, done, total: None,
) -> TflmRun:
    """Play clips to a step model, each from reset; inputs after the first are carried state.

    Args:
        model: input 0 is a frame; input i is carried on from output i, output 0 is the answer.
            Where outputs are one fewer, the last input is the carried answer itself.
        frames: normalised features, (N, T, features).
        what, progress: see `Progress`.
    """
    resources = default_resource_variables(model)
    clips = quantised_frames(model, frames)
    outputs = []
    spent = 0.0
    options = {"resource_variables": resources, "custom_ops": custom_ops_of(model)}
    with bridge.Oracle(model.source, **options) as oracle:
        graph = model.subgraphs[0]
        carried = [graph.tensors[i] for i in graph.inputs[1:]]
        sources = [*range(1, len(graph.outputs)), 0][: len(carried)]
        for number, clip in enumerate(clips):
            oracle.reset()
            state = [np.full(t.shape, t.zero_point, t.dtype.numpy) for t in carried]
            began = time.perf_counter()
            for frame in clip:
                oracle.set_input(frame[None], 0)
                for index, values in enumerate(state):
                    oracle.set_input(values, index + 1)
                oracle.invoke()
                state = [oracle.get_output(index) for index in sources]
            spent += time.perf_counter() - began
            outputs.append(oracle.get_output(0)[0])
            progress(what, number + 1, len(clips))
    return TflmRun(np.array(outputs), spent / clips.shape[0] / clips.shape[1])


def run_whole_in_tflm(
    model: Model,
    frames: np.ndarray,
    *,
    what: str = "TFLM",
    progress: Progress = lambda what, done, total: None,
) -> TflmRun:
    """Play clips to a model that takes all frames of a clip at once, (1, T * features)."""
    clips = quantised_frames(model, frames)
    shape = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape
    outputs = []
    spent = 0.0
    with bridge.Oracle(model.source, custom_ops=custom_ops_of(model)) as oracle:
        for number, clip in enumerate(clips):
            oracle.reset()
            began = time.perf_counter()
            oracle.set_input(clip.reshape(shape), 0)
            oracle.invoke()
            spent += time.perf_counter() - began
            outputs.append(oracle.get_output(0)[0])
            progress(what, number + 1, len(clips))
    return TflmRun(np.array(outputs), spent / clips.shape[0] / clips.shape[1])


def run_in_refmicro(model: Model, frames: np.ndarray) -> np.ndarray:
    """The same for a step model whose only input is the frame: the outputs after each clip."""
    clips = quantised_frames(model, frames)
    interpreter = Interpreter(model)
    outputs = interpreter.invoke_sequence([clips[:, :, None, :]])[0]
    return outputs[:, -1, 0]
