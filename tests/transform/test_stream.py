"""Step models of models over whole sequences: what is kept, equal sequences, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.transform._frames import selection
from refmicro.transform._running_mean import running_mean
from refmicro.transform.fuse import fuse
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.proof import Proof, RefmicroMachine, prove, prove_equal
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.transform.step_model import with_state
from refmicro.transform.stream import Streamed, stream
from refmicro.transform.while_loop import while_loop
from refmicro.types import DType, Tensor, TflmBuild
from refmicro.vectors import random_inputs
from tests.models import MAMBA
from tests.ops.graphs import int32, model, op, subgraph
from tests.ops.harness import tensor
from tests.transform.scans import NO_MASKS, PLAIN, ScanMaker

UNROLLED = ("u2_split_int8", "u3_elu_trained_int8")


def i8(*shape: int, scale: float = 0.05, zero_point: int = 3, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=scale, zero_point=zero_point, **more)


def constant(*shape: int, seed: int = 0, zero_point: int = 0, scale: float = 0.02) -> Tensor:
    data = np.random.default_rng(seed).integers(-127, 128, shape)
    return i8(*shape, scale=scale, zero_point=zero_point, data=data)


def whole_proof(source: Model, streamed: Streamed, count: int = 3) -> Proof:
    ops = custom_ops_of(streamed.parts[0])
    return prove(source, streamed.parts, streamed.arrangement, count=count, custom_ops=ops)


def assert_same(source: Model, streamed: Streamed, rows: int = 4) -> None:
    """The step run T times gives the source's bytes, in refmicro."""
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, 2)
    want = Interpreter(source).invoke_batch(inputs)
    machine = streamed.arrangement(RefmicroMachine)
    for row in range(rows):
        got = machine.invoke([array[row] for array in inputs])
        for index, values in enumerate(got):
            assert values.tobytes() == want[index][row].tobytes(), index


def required(source: Model) -> int:
    return model_arena(prepare_model(source, TflmBuild.firmware())).required_bytes


# Real models


@pytest.mark.oracle
def test_projections_and_convolution_of_all_frames() -> None:
    """Seven sequences come out; only the convolution's three last frames are kept."""
    source = read_model(MAMBA["front_whole_L49_pc"])
    streamed = stream(source)
    assert streamed.steps == 49
    assert streamed.step.state_bytes == 3 * 128
    assert streamed.output_axes == (1,) * 7
    assert whole_proof(source, streamed).equal
    step = fuse(with_state(streamed.step, "variable")).model
    assert required(step) < required(source) / 4


@pytest.mark.oracle
@pytest.mark.parametrize("name", UNROLLED)
def test_unrolled_models_are_exact_with_the_scan_fused_and_a_window(name: str) -> None:
    """Every step of these models has scales of its own: SELECTIVE_SCAN is told its number."""
    source = read_model(MAMBA[name])
    streamed = stream(fuse_scan(source).model, mean="window")
    assert streamed.changes == ()
    assert whole_proof(source, streamed, 2).equal


@pytest.mark.oracle
@pytest.mark.parametrize("name", UNROLLED)
def test_a_running_mean_says_for_how_many_sums_it_differs(name: str) -> None:
    source = read_model(MAMBA[name])
    fused = fuse_scan(source).model
    with pytest.raises(UnsupportedError, match="the mean over time differs for"):
        stream(fused)
    streamed = stream(fused, changes=True)
    assert len(streamed.changes) == 1
    assert streamed.changes[0].endswith("of 12496 sums by up to 1")
    # State 2,048, three frames, 64 sums of two bytes, the number of the step.
    assert streamed.step.state_bytes == 2048 + 3 * 128 + 2 * 64 + 4
    assert whole_proof(source, streamed, 2).sound
    step = fuse(with_state(streamed.step, "variable")).model
    assert required(step) < 13_000


@pytest.mark.oracle
def test_unrolled_models_of_stock_operators_need_leave() -> None:
    source = read_model(MAMBA["u3_elu_trained_int8"])
    with pytest.raises(UnsupportedError, match="6 values of each frame have other scales"):
        stream(source)
    streamed = stream(source, changes=True)
    assert "the first frame has no state before it: here it reads zero" in streamed.changes
    assert streamed.step.state_bytes == 2048 + 3 * 128 + 2 * 64
    proof = whole_proof(source, streamed, 2)
    assert proof.sound
    assert not proof.equal
    step = fuse(with_state(streamed.step, "variable")).model
    assert len(step.subgraphs[0].operators) < 40
    assert required(step) < required(source) / 5


@pytest.mark.oracle
def test_there_and_back_again() -> None:
    """377 operators to a step, and the step to the body of a loop: the same bytes."""
    source = read_model(MAMBA["u3_elu_trained_int8"])
    streamed = stream(fuse_scan(source).model, mean="window")
    axes = streamed.input_axes
    looped = while_loop(streamed.step, streamed.steps, collect="last", axes=axes).model
    ops = custom_ops_of(looped)
    assert prove_equal(source, looped, count=2, custom_ops=ops).equal
    assert required(looped) < required(source)


# Operators


class Maker:
    """A model over 8 frames, operator by operator."""

    def __init__(self, *shape: int) -> None:
        self.x = i8(*(shape or (1, 8, 6)))
        self.operators: list[tuple] = []

    def add(self, name: str, inputs: list, y: Tensor, options: dict | None = None, table: str = ""):
        self.operators.append(op(name, inputs, [y], options, table))
        return y

    def model(self, *outputs: Tensor) -> Model:
        return model(subgraph([self.x], list(outputs), self.operators))

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        y = i8(*shape, scale=x.scale, zero_point=x.zero_point)
        return self.add("RESHAPE", [x, int32(*shape)], y, {"new_shape": shape})


def convolution(
    name: str = "DEPTHWISE_CONV_2D",
    taps: int = 3,
    dilation: int = 1,
    pad: str = "PAD",
    lead: int | None = None,
    behind: int = 0,
    padding: int = 1,
    twice: bool = False,
) -> Model:
    make = Maker()
    lead = (taps - 1) * dilation if lead is None else lead
    count = 8 + lead + behind
    padded = i8(1, count, 6)
    if pad == "CONCATENATION":
        front = constant(1, lead, 6, zero_point=3, scale=0.05)
        make.add(pad, [front, make.x], padded, {"axis": 1, "fused_activation_function": 0})
    else:
        amounts = np.array([[0, 0], [lead, behind], [0, 0]])
        inputs = [make.x, tensor(DType.INT32, (3, 2), data=amounts)]
        value = tensor(DType.INT8, (), scale=0.05, zero_point=3, data=np.array(17))
        more = [value] if pad == "PADV2" else []
        make.add(pad, inputs + more, padded, {}, "PadV2Options" if more else "PadOptions")
    four = make.reshape(padded, 1, 1, count, 6)
    outputs = []
    for seed in range(1 + twice):
        depthwise = name == "DEPTHWISE_CONV_2D"
        channels = 6 if depthwise else 4
        shape = (1, 1, taps, 6) if depthwise else (channels, 1, taps, 6)
        weights = tensor(
            DType.INT8,
            shape,
            scale=[0.01 + 0.001 * c for c in range(channels)],
            zero_point=[0] * channels,
            axis=3 if depthwise else 0,
            data=np.random.default_rng(seed).integers(-127, 128, shape),
        )
        bias = tensor(DType.INT32, (channels,), data=np.arange(channels) * 40)
        width = count - (taps - 1) * dilation if padding else count
        y = i8(1, 1, width, channels)
        options = {
            "padding": padding,
            "stride_w": 1,
            "stride_h": 1,
            "dilation_w_factor": dilation,
            "dilation_h_factor": 1,
            "fused_activation_function": 0,
        }
        options |= {"depth_multiplier": 1} if depthwise else {}
        table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        outputs.append(make.add(name, [four, weights, bias], y, options, table))
    return make.model(*outputs)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": "CONV_2D"},
        {"taps": 1, "lead": 0},
        {"taps": 2, "dilation": 3},
        {"pad": "PADV2"},
        {"twice": True},
    ],
    ids=str,
)
def test_causal_convolutions_keep_their_last_frames(form: dict) -> None:
    source = convolution(**form)
    streamed = stream(source)
    kept = (form.get("taps", 3) - 1) * form.get("dilation", 1)
    assert streamed.step.state_bytes == kept * 6
    assert whole_proof(source, streamed).equal


def test_constant_frames_in_front_are_the_first_state() -> None:
    source = convolution(pad="CONCATENATION")
    with pytest.raises(UnsupportedError, match="must be all alike where they are moved"):
        stream(source)


def slices() -> Model:
    """Both halves of the channels, one gates the other; heads, turned; a softmax; a reduction."""
    make = Maker()
    wide = i8(1, 8, 12)
    make.add("FULLY_CONNECTED", [make.x, constant(12, 6), None], wide, PLAIN)
    halves = []
    for begin in (0, 6):
        part = i8(1, 8, 6)
        parameters = [int32(0, 0, begin), int32(1, 8, begin + 6), int32(1, 1, 1)]
        halves.append(make.add("STRIDED_SLICE", [wide, *parameters], part, NO_MASKS))
    gate = tensor(DType.INT8, (1, 8, 6), scale=1 / 256, zero_point=-128)
    make.add("LOGISTIC", [halves[1]], gate)
    y = make.add("MUL", [halves[0], gate], i8(1, 8, 6), PLAIN)
    heads = make.reshape(y, 8, 2, 3)
    turned = make.add("TRANSPOSE", [heads, int32(0, 2, 1)], i8(8, 3, 2), {})
    soft = tensor(DType.INT8, (8, 3, 2), scale=1 / 256, zero_point=-128)
    make.add("SOFTMAX", [turned], soft, {"beta": 1.0})
    least = make.add(
        "REDUCE_MAX", [turned, int32(1)], i8(8, 2), {"keep_dims": False}, "ReducerOptions"
    )
    both = make.add(
        "CONCATENATION", [turned, turned], i8(8, 6, 2), {"axis": 1, "fused_activation_function": 0}
    )
    return make.model(y, soft, least, both)


def timeless_first() -> Model:
    """Channels before time: a projection after a transposition."""
    make = Maker(6, 8)
    turned = make.add("TRANSPOSE", [make.x, int32(1, 0)], i8(8, 6), {})
    y = make.add("FULLY_CONNECTED", [turned, constant(5, 6), None], i8(8, 5), PLAIN)
    return make.model(y)


def last_frame() -> Model:
    """A head on the last frame, and one on the mean."""
    make = Maker()
    hidden = make.add("RELU", [make.x], i8(1, 8, 6))
    last = i8(1, 6)
    masks = NO_MASKS | {"shrink_axis_mask": 2}
    parameters = [int32(0, 7, 0), int32(1, 8, 6), int32(1, 1, 1)]
    make.add("STRIDED_SLICE", [hidden, *parameters], last, masks)
    y = make.add("FULLY_CONNECTED", [last, constant(3, 6), None], i8(1, 3), PLAIN)
    mean = make.add(
        "MEAN", [hidden, int32(1)], i8(1, 6, scale=0.03), {"keep_dims": False}, "ReducerOptions"
    )
    z = make.add("FULLY_CONNECTED", [mean, constant(3, 6), None], i8(1, 3), PLAIN)
    both = make.add("ADD", [y, z], i8(1, 3), PLAIN)
    return make.model(both, last)


def recurrence(scales: Callable[[int], float] = lambda t: 0.05, start: bool = True) -> Model:
    """h' = relu(x W + h U), unrolled by SPLIT and PACK."""
    make = Maker(8, 6)
    rows = [i8(1, 6) for _ in range(8)]
    axis = tensor(DType.INT32, (), data=np.array(0))
    make.operators.append(op("SPLIT", [axis, make.x], rows, {"num_splits": 8}))
    into, back = constant(4, 6, seed=1), constant(4, 4, seed=2)
    h = i8(1, 4, scale=0.05, data=np.array([[3, 3, 40, -9]])) if start else None
    results = []
    for t, row in enumerate(rows):
        given = make.add("FULLY_CONNECTED", [row, into, None], i8(1, 4), PLAIN)
        if h is not None:
            kept = make.add("FULLY_CONNECTED", [h, back, None], i8(1, 4), PLAIN)
            total = i8(1, 4, scale=scales(t))
            given = make.add("ADD", [given, kept], total, PLAIN)
        h = make.add("RELU", [given], i8(1, 4, scale=0.05))
        results.append(h)
    packed = i8(8, 1, 4)
    make.add("PACK", results, packed, {"values_count": 8, "axis": 0})
    return make.model(packed)


@pytest.mark.oracle
@pytest.mark.parametrize("make", [slices, last_frame, recurrence])
def test_models_are_proven_equal(make: Callable[[], Model]) -> None:
    source = make()
    streamed = stream(source)
    assert streamed.changes == ()
    assert whole_proof(source, streamed).equal


def test_time_may_be_the_last_axis() -> None:
    source = timeless_first()
    with pytest.raises(UnsupportedError):
        stream(source)
    streamed = stream(source, time_axis=1)
    assert streamed.steps == 8
    assert streamed.input_axes == (1,)
    assert_same(source, streamed)


def test_an_unrolled_recurrence_becomes_its_step() -> None:
    streamed = stream(recurrence())
    # What is kept is what the next frame reads: the product of the state before.
    (state,) = streamed.step.states
    assert set(np.frombuffer(state.initial, np.int8)) != {3}
    step = fuse(with_state(streamed.step, "io")).model
    names = sorted(item.name for item in step.subgraphs[0].operators)
    # RELU is a fused activation of ADD by now.
    assert [name for name in names if name != "RESHAPE"] == [
        "ADD",
        "FULLY_CONNECTED",
        "FULLY_CONNECTED",
    ]


def test_frames_on_scales_of_their_own_get_one() -> None:
    source = recurrence(lambda t: 0.05 + 0.01 * (t % 3))
    with pytest.raises(UnsupportedError, match="1 values of each frame have other scales"):
        stream(source)
    streamed = stream(source, changes=True)
    totals = {
        item.quantization.scale[0]
        for item in streamed.step.tensors
        if item.shape == (1, 4) and item.quantization.scale
    }
    assert float(np.float32(0.07)) in totals


def test_a_first_frame_without_a_state_reads_zero() -> None:
    with pytest.raises(UnsupportedError, match="the first frame has no state before it"):
        stream(recurrence(start=False))
    streamed = stream(recurrence(start=False), changes=True)
    (state,) = streamed.step.states
    assert set(np.frombuffer(state.initial, np.int8)) == {3}


@given(st.integers(0, 2**32))
def test_random_unrolled_scans_are_exact_once_fused(seed: int) -> None:
    source = ScanMaker(seed, steps=4, state="none").model()
    fused = fuse_scan(source).model
    streamed = stream(fused, time_axis=0)
    assert streamed.changes == ()
    assert_same(source, streamed)


# The running mean


@pytest.mark.parametrize("count", [4, 16, 32])
def test_a_running_mean_of_a_power_of_two_is_exact(count: int) -> None:
    x, y = i8(1, 4, scale=0.3, zero_point=-20), i8(1, 4, scale=0.11, zero_point=9)
    assert running_mean(x, y, count).exact


def test_a_running_mean_counts_the_sums_for_which_it_differs() -> None:
    x, y = i8(1, 4, scale=0.0493498, zero_point=8), i8(1, 4, scale=0.00514969, zero_point=0)
    found = running_mean(x, y, 49)
    assert not found.exact
    assert found.sums == 49 * 255 + 1
    assert 0 < found.differ < 0.02 * found.sums
    assert found.steps == 1


def test_a_sum_too_large_for_sixteen_bits_rounds() -> None:
    found = running_mean(i8(1, 4, zero_point=127), i8(1, 4), 200)
    assert found.rounds
    assert not found.exact


# What a step cannot do


def varying_constant() -> Model:
    make = Maker()
    y = make.add("ADD", [make.x, constant(1, 8, 6)], i8(1, 8, 6), PLAIN)
    return make.model(y)


def sum_over_time() -> Model:
    make = Maker()
    y = make.add(
        "SUM", [make.x, int32(1)], i8(1, 6, scale=0.4), {"keep_dims": False}, "ReducerOptions"
    )
    return make.model(y)


def backwards() -> Model:
    make = Maker(8, 6)
    rows = [i8(1, 6) for _ in range(8)]
    axis = tensor(DType.INT32, (), data=np.array(0))
    make.operators.append(op("SPLIT", [axis, make.x], rows, {"num_splits": 8}))
    y = make.add("PACK", rows[::-1], i8(8, 1, 6), {"values_count": 8, "axis": 0})
    return make.model(y)


def product_over_time() -> Model:
    make = Maker(8, 6)
    turned = make.add("TRANSPOSE", [make.x, int32(1, 0)], i8(6, 8), {})
    y = make.add("FULLY_CONNECTED", [turned, constant(5, 8), None], i8(6, 5), PLAIN)
    return make.model(y)


def first_frame() -> Model:
    make = Maker(8, 6)
    part = i8(1, 6)
    make.add("STRIDED_SLICE", [make.x, int32(0, 0), int32(1, 6), int32(1, 1)], part, NO_MASKS)
    return make.model(make.add("RELU", [part], i8(1, 6)))


REFUSED: dict[str, Callable[[], Model]] = {
    "its padding looks into the future": lambda: convolution(padding=0, lead=0),
    "only time may be padded, and only in front": lambda: convolution(behind=1, lead=1),
    "2 frames must be padded in front: 4": lambda: convolution(lead=4),
    "a constant is another one for each frame": varying_constant,
    "only a MEAN over time alone runs along": sum_over_time,
    "it puts frames together out of order": backwards,
    "it works along time": product_over_time,
    "an output must be a sequence or depend on the last frame": first_frame,
    "one subgraph": lambda: read_model(MAMBA["g_elu_while_int8"]),
    "no state": lambda: read_model(MAMBA["g_elu_inplacevar_int8"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_causal_is_refused_with_its_reason(why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        stream(REFUSED[why](), changes=True)


def test_inputs_must_have_as_many_frames() -> None:
    x, z = i8(1, 8, 6), i8(1, 7, 6)
    a, b = i8(1, 8, 6), i8(1, 7, 6)
    source = model(subgraph([x, z], [a, b], [op("RELU", [x], [a]), op("RELU", [z], [b])]))
    with pytest.raises(UsageError, match="the same number of frames"):
        stream(source)


@pytest.mark.parametrize(
    ("take", "how"),
    [
        (lambda a: a, ("same", ())),
        (lambda a: a.transpose(0, 2, 1), ("turn", (0, 2, 1))),
        (lambda a: a[:, :, 1:3], ("cut", (2, 1, 3))),
        (lambda a: a[:, 1:2], ("cut", (1, 1, 2))),
        (lambda a: a[:, ::-1], None),
    ],
)
def test_how_elements_are_taken_out_of_a_frame(
    take: Callable[[np.ndarray], np.ndarray], how: tuple | None
) -> None:
    shape = (1, 3, 4)
    assert selection(shape, take(np.arange(12).reshape(shape)).reshape(-1)) == how
