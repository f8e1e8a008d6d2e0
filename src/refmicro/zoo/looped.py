"""The keyword spotter over a whole clip as a WHILE loop around the streaming step.

The converter cannot make this model: it crashes while it calibrates an int8 loop. Here the body is
the streaming step with its state in variable tensors, so that only the counter, the frames and the
sum of logits are carried; TFLM copies what is carried in every iteration. Reset the interpreter
between clips.

Source: `tensorflow/lite/micro/kernels/while.cc`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from refmicro.model.graph import Model, Subgraph
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import DType, Tensor
from refmicro.zoo.mamba import MambaConfig
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import Builder, StreamingOptions, with_offsets, write_step


def while_model(
    config: MambaConfig, parameters: dict[str, np.ndarray], grids: dict[str, Grid]
) -> Model:
    """The whole clip in one invocation: int8 (T, features) to int16 (1, classes).

    Args:
        config: dimensions; the discretisation must be `sigmoid`.
        parameters: trained, by name.
        grids: of the activations, int8, by name.
    """
    options = StreamingOptions()
    total = Grid(float(np.float32(grids["logits"].scale)), 0, 16)
    body, carried = _start(config, grids, total)
    one = body.constant("one", DType.INT32, np.ones(1, np.int32))
    frame = body.tensor("frame", (1, config.features), grids["frame"])
    body.add("GATHER", (carried[1], carried[0]), frame, axis=0, batch_dims=0)
    logits = write_step(body, config, parameters, grids, options, frame)
    shape = (1, config.classes)
    wide = body.add("QUANTIZE", (logits,), body.tensor("wide", shape, total))
    added = body.add("ADD", (carried[2], wide), body.tensor("total", shape, total))
    later = body.add("ADD", (carried[0], one), _counter(body))
    outputs = (later, carried[1], added)

    condition, tested = _start(config, grids, total)
    limit = condition.constant("limit", DType.INT32, np.array([config.frames], np.int32))
    condition.tensors.append(Tensor("more", DType.BOOL, (1,)))
    more = len(condition.tensors) - 1
    condition.add("LESS", (tested[0], limit), more)

    main = Builder()
    frames = main.tensor("frames", (config.frames, config.features), grids["frame"])
    first = main.constant("first", DType.INT32, np.zeros(1, np.int32))
    quantization = main.quantization(total)
    zero = main.constant("zero", DType.INT16, np.zeros(shape, np.int16), quantization)
    ends = (
        _counter(main),
        main.tensor("frames", (config.frames, config.features), grids["frame"]),
        main.tensor("total", shape, total),
    )
    main.add_many(
        "WHILE", (first, frames, zero), ends, cond_subgraph_index=1, body_subgraph_index=2
    )
    parts = (
        (main, (frames,), (ends[2],)),
        (condition, tested, (more,)),
        (body, carried, outputs),
    )
    graphs = tuple(
        Subgraph(
            tuple(dataclasses.replace(tensor, name="") for tensor in build.tensors),
            inputs,
            results,
            tuple(build.operators),
        )
        for build, inputs, results in parts
    )
    model = with_offsets(Model(graphs, description="refmicro kws-mamba"), [p[0] for p in parts])
    return parse_model(write_model(model))


def _counter(build: Builder) -> int:
    build.tensors.append(Tensor("t", DType.INT32, (1,)))
    return len(build.tensors) - 1


def _start(
    config: MambaConfig, grids: dict[str, Grid], total: Grid
) -> tuple[Builder, tuple[int, int, int]]:
    """A subgraph with what is carried: counter, frames, sum of logits."""
    build = Builder()
    counter = _counter(build)
    frames = build.tensor("frames", (config.frames, config.features), grids["frame"])
    return build, (counter, frames, build.tensor("total", (1, config.classes), total))
