"""CIRCULAR_BUFFER for the frames of a streaming convolution: equal bytes, the frames held once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.ops._flexbuffer import read_map
from refmicro.program import prepare_model
from refmicro.transform.fuse import fuse
from refmicro.transform.proof import prove_equal
from refmicro.transform.shift_register import OPTIONS, fuse_shift_registers
from refmicro.types import DType, Tensor, TflmBuild
from tests.models import MAMBA
from tests.ops.graphs import int32, model, op, subgraph
from tests.ops.harness import tensor

NO_MASKS = dict.fromkeys(
    ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
)
CONV = {
    "padding": 1,
    "stride_w": 1,
    "stride_h": 1,
    "dilation_w_factor": 1,
    "dilation_h_factor": 1,
    "fused_activation_function": 0,
}


def i8(*shape: int, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=0.05, zero_point=3, **more)


def names(source: Model) -> list[str]:
    return [item.name for item in source.subgraphs[0].operators]


def stream(
    name: str = "DEPTHWISE_CONV_2D",
    *,
    frames: int = 3,
    taps: int = 4,
    dilation: int = 1,
    padding: int = 1,
    depth: int = 6,
    reverse: bool = False,
    finish: Callable[[dict], tuple[list[Tensor], list[tuple]]] | None = None,
) -> Model:
    """A convolution over the last `frames` frames and the new one."""
    rng = np.random.default_rng(taps)
    x, frame, state = i8(1, depth), i8(1, depth), i8(frames, depth, variable=True)
    joined, four = i8(frames + 1, depth), i8(1, 1, frames + 1, depth)
    channels = depth if name == "DEPTHWISE_CONV_2D" else 5
    shape = (1, 1, taps, depth) if name == "DEPTHWISE_CONV_2D" else (channels, 1, taps, depth)
    weights = tensor(
        DType.INT8,
        shape,
        scale=list(rng.uniform(0.01, 0.03, channels)),
        zero_point=[0] * channels,
        axis=3 if name == "DEPTHWISE_CONV_2D" else 0,
        data=rng.integers(-127, 128, shape),
    )
    bias = tensor(DType.INT32, (channels,), data=rng.integers(-500, 500, channels))
    y = i8(1, 1, 1, channels)
    options = CONV | {"dilation_w_factor": dilation, "padding": padding}
    if name == "DEPTHWISE_CONV_2D":
        options = options | {"depth_multiplier": 1}
    names_of = {"DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "CONV_2D": "Conv2DOptions"}
    parts = [frame, state] if reverse else [state, frame]
    operators = [
        op("RELU", [x], [frame]),
        op("CONCATENATION", parts, [joined], {"axis": 0, "fused_activation_function": 0}),
        op("RESHAPE", [joined, int32(*four.shape)], [four], {"new_shape": four.shape}),
        op(name, [four, weights, bias], [y], options, names_of[name]),
    ]
    parameters = [int32(1, 0), int32(frames + 1, depth), int32(1, 1)]
    operators.append(op("STRIDED_SLICE", [joined, *parameters], [state], NO_MASKS))
    outputs = [y]
    if finish is not None:
        more, added = finish({"joined": joined, "state": state})
        outputs += more
        operators[4:4] = added
    return model(subgraph([x], outputs, operators))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["g_elu_inplacevar_int8", "m_elu_inplace2_off_int8"])
def test_real_models_are_proven_equal(name: str) -> None:
    source = read_model(MAMBA[name])
    result = fuse(fuse_shift_registers(source).model).model
    assert "CIRCULAR_BUFFER" in names(result)
    assert "CONCATENATION" not in names(result)
    assert prove_equal(source, result, count=4).equal
    before, after = (
        model_arena(prepare_model(m, TflmBuild.firmware())) for m in (fuse(source).model, result)
    )
    # The frames are held once, as state and input of the convolution, instead of twice.
    assert after.used_bytes <= before.used_bytes - 512


@pytest.mark.oracle
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": "CONV_2D"},
        {"frames": 1, "taps": 2},
        {"frames": 4, "taps": 3, "dilation": 2},
        {"frames": 6, "taps": 4, "dilation": 2, "depth": 3, "name": "CONV_2D"},
    ],
    ids=str,
)
def test_convolutions_are_proven_equal(form: dict) -> None:
    source = stream(**form)
    result = fuse_shift_registers(source)
    assert len(result.removed) == 1
    assert names(result.model) == [
        "RELU",
        "RESHAPE",
        "CIRCULAR_BUFFER",
        form.get("name", "DEPTHWISE_CONV_2D"),
    ]
    assert prove_equal(source, result.model, count=8).equal


def read_before(made: dict) -> tuple[list[Tensor], list[tuple]]:
    y = i8(4, 6)
    return [y], [op("RELU", [made["joined"]], [y])]


def read_state(made: dict) -> tuple[list[Tensor], list[tuple]]:
    y = i8(3, 6)
    return [y], [op("RELU", [made["state"]], [y])]


@pytest.mark.parametrize(
    "form",
    [
        {"reverse": True},
        {"finish": read_before},
        {"finish": read_state},
        {"frames": 7, "taps": 4},
        {"padding": 0},
    ],
    ids=["newest first", "frames read", "state read", "several outputs", "padding"],
)
def test_other_uses_of_the_frames_are_left_alone(form: dict) -> None:
    source = stream(**form) if form.get("frames") != 7 else wide_output()
    result = fuse_shift_registers(source)
    assert result.removed == ()
    assert result.model is source


def wide_output() -> Model:
    """A convolution that gives four frames at once: it is no step of a stream."""
    source = stream(frames=7, taps=8)
    graph = source.subgraphs[0]
    conv = graph.operators[3]
    tensors = list(graph.tensors)
    weights = tensors[conv.inputs[1]]
    tensors[conv.inputs[1]] = dataclasses.replace(
        weights, shape=(1, 1, 5, 6), data=bytes(weights.data)[: 5 * 6]
    )
    y = tensors[conv.outputs[0]]
    tensors[conv.outputs[0]] = dataclasses.replace(y, shape=(1, 1, 4, 6))
    return dataclasses.replace(
        source, subgraphs=(dataclasses.replace(graph, tensors=tuple(tensors)),)
    )


def test_the_options_say_that_each_frame_counts() -> None:
    assert read_map(OPTIONS).whole("cycles_max") == 1
