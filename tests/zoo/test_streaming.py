"""Integer models: strategies equal one another, refmicro equals TFLM, and the arena is small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro import estimate
from refmicro.compare import check_model
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from refmicro.zoo.evaluate import (
    Accuracy,
    run_in_refmicro,
    run_in_tflm,
    run_whole_in_tflm,
)
from refmicro.zoo.looped import while_model
from refmicro.zoo.mamba import MambaConfig
from refmicro.zoo.quantise import CalibrationConfig, Grid, Recorder, Rounding
from refmicro.zoo.streaming import (
    STATES,
    StreamingOptions,
    float_grids,
    quantised_frames,
    streaming_model,
)
from refmicro.zoo.unrolled import unrolled_model

from .kws_models import TINY, clips, grids, parameters

DEEP = dataclasses.replace(TINY, layers=2)


@pytest.mark.oracle
@pytest.mark.parametrize("config", [TINY, DEEP], ids=["one layer", "two layers"])
def test_strategies_give_the_same_bytes(config: MambaConfig) -> None:
    p, frames = parameters(config), clips(config, 3)
    base = streaming_model(config, p, grids(config))
    mine = run_in_refmicro(base, frames)
    assert len({row.tobytes() for row in mine}) == 3
    assert run_in_tflm(base, frames).outputs.tobytes() == mine.tobytes()
    for state in STATES:
        for in_place in (False, True):
            options = StreamingOptions(state=state, in_place=in_place, names=True)
            model = streaming_model(config, p, grids(config), options)
            assert run_in_tflm(model, frames).outputs.tobytes() == mine.tobytes()
    for make in (unrolled_model, while_model):
        whole = make(config, p, grids(config))
        assert run_whole_in_tflm(whole, frames).outputs.tobytes() == mine.tobytes()
        clipped = quantised_frames(whole, frames)
        assert Interpreter(whole).invoke_batch([clipped])[0][:, 0].tobytes() == mine.tobytes()


@pytest.mark.oracle
@pytest.mark.parametrize("config", [TINY, DEEP], ids=["one layer", "two layers"])
@pytest.mark.parametrize(
    "options",
    [
        StreamingOptions(),
        StreamingOptions(per_channel=True),
        StreamingOptions(state_bits=16),
        StreamingOptions(bits=16),
        StreamingOptions(bits=32),
    ],
    ids=str,
)
def test_refmicro_equals_tflm(config: MambaConfig, options: StreamingOptions) -> None:
    bits = options.bits
    chosen = float_grids(grids(config)) if bits == 32 else grids(config, bits)
    model = streaming_model(config, parameters(config), chosen, options)
    found = check_model(model, f"{bits} bits", count=6)
    assert found.refused is None
    assert found.equal


def test_the_published_size_needs_at_most_10_kb() -> None:
    config = MambaConfig()
    model = streaming_model(config, parameters(config), grids(config))
    assert estimate(model, abi="ilp32").arena["required_bytes"] <= 10_000


def test_memory_does_not_depend_on_time() -> None:
    short, long = (dataclasses.replace(TINY, frames=frames) for frames in (2, 200))
    models = [streaming_model(c, parameters(c), grids(c)) for c in (short, long)]
    assert models[0].source == models[1].source


def test_the_sum_of_logits_is_exact() -> None:
    config = TINY
    p, frames = parameters(config), clips(config, 2)
    model = streaming_model(config, p, grids(config, scale=0.005))
    graph = model.subgraphs[0]
    logits = next(op.inputs[0] for op in reversed(graph.operators) if op.name == "QUANTIZE")
    seen: list[np.ndarray] = []

    def trace(subgraph: int, operator: int, written: dict[int, np.ndarray]) -> None:
        if logits in written:
            seen.append(written[logits].astype(int))

    inputs = quantised_frames(model, frames)[:, :, None]
    totals = Interpreter(model).invoke_sequence([inputs], trace)[0]
    assert np.array_equal(np.cumsum(np.stack(seen, 1), 1), totals)
    assert np.any(totals)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"discretisation": "exact"}, "exact"), ({"frames": 256}, "255 frames: 256")],
)
def test_what_has_no_integer_form_is_refused(changed: dict, message: str) -> None:
    config = dataclasses.replace(TINY, **changed)
    p, chosen = parameters(config), grids(config)
    with pytest.raises(UnsupportedError, match=message):
        streaming_model(config, p, chosen)


def test_calibrated_models_follow_the_float_model() -> None:
    """The simulation that training sees, the integer model, and the float model."""
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'refmicro[train]'")
    from refmicro.zoo.mamba import Float, forward

    p, frames = parameters(TINY), np.clip(clips(TINY, 40), -3.9, 3.9)
    tensors = {name: tf.constant(value) for name, value in p.items()}
    recorder = Recorder()
    floats = forward(TINY, tensors, tf.constant(frames), recorder).numpy().sum(1)
    assert np.array_equal(
        floats, forward(TINY, tensors, tf.constant(frames), recorder).numpy().sum(1)
    )
    errors = {}
    for bits in (8, 16):
        found = recorder.grids(CalibrationConfig(100, 100, bits))
        scales = {name: tf.constant(np.float32(np.log(g.scale))) for name, g in found.items()}
        tap = Rounding(found, scales, bits)
        simulated = forward(TINY, tensors, tf.constant(frames), tap).numpy().sum(1)
        model = streaming_model(TINY, p, found, StreamingOptions(bits=bits))
        total = model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]]
        integers = run_in_refmicro(model, frames) * total.scale
        size = np.std(floats)
        errors[bits] = np.std(integers - floats) / size
        assert np.std(simulated - integers) / size < (0.1 if bits == 8 else 0.05)
    assert errors[8] < 0.2
    assert errors[16] < 0.05
    reference = forward(TINY, tensors, tf.constant(frames), Float()).numpy().sum(1)
    assert np.max(np.abs(reference - floats)) < 1e-3


@pytest.mark.parametrize(("state_bits", "per_channel"), [(16, False), (8, True), (16, True)])
def test_training_sees_a_wide_state_and_a_scale_a_row(state_bits: int, per_channel: bool) -> None:
    """With either switch the simulation stays as close to the integer model as without."""
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'refmicro[train]'")
    from refmicro.zoo.mamba import forward

    p, frames = parameters(TINY), np.clip(clips(TINY, 40), -3.9, 3.9)
    # Rows of very different size, which one scale for all would blur.
    p["0.x_proj"][::2] /= 64
    tensors = {name: tf.constant(value) for name, value in p.items()}
    recorder = Recorder()
    floats = forward(TINY, tensors, tf.constant(frames), recorder).numpy().sum(1)
    wanted = CalibrationConfig(100, 100, state_bits=state_bits, per_channel=per_channel)
    found = recorder.grids(wanted)
    assert {found[f"0.{name}"].bits for name in ("h", "input", "decay_log")} == {state_bits}
    assert found["0.u"].bits == 8
    scales = {name: tf.constant(np.float32(np.log(g.scale))) for name, g in found.items()}
    tap = Rounding(found, scales, per_channel=per_channel)
    simulated = forward(TINY, tensors, tf.constant(frames), tap).numpy().sum(1)
    options = StreamingOptions(state_bits=state_bits, per_channel=per_channel)
    model = streaming_model(TINY, p, found, options)
    tensors = model.subgraphs[0].tensors
    total = tensors[model.subgraphs[0].outputs[0]]
    integers = run_in_refmicro(model, frames) * total.scale
    assert np.std(simulated - integers) < 0.1 * np.std(floats)
    states = {t.dtype for t in tensors if t.is_variable and t.shape == (16, 4)}
    assert states == {DType.INT16 if state_bits == 16 else DType.INT8}
    assert any(len(t.quantization.scale) > 1 for t in tensors) == per_channel


def test_percentiles_cut_outliers() -> None:
    class Value:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def numpy(self) -> np.ndarray:
            return self.array

    recorder = Recorder()
    values = np.append(np.linspace(-1, 1, 9999), 50.0).astype(np.float32)
    recorder.act("0.h", Value(values))
    recorder.act("0.input", Value(values))
    whole = recorder.grids(CalibrationConfig(100, 99.9))
    assert whole["0.h"].scale == float(np.float32(50 / 127))
    assert abs(whole["0.input"].scale * 127 - 1) < 0.01
    assert recorder.grids(CalibrationConfig(100, 100, 16))["0.h"] == Grid(
        float(np.float32(50 / 32767)), 0, 16
    )


def test_interval() -> None:
    # Wilson's interval of 8 of 10, see Newcombe (1998), table I.
    found = Accuracy.of(np.array([True] * 8 + [False] * 2))
    assert (round(found.share, 4), round(found.low, 4), round(found.high, 4)) == (
        *(0.8, 0.4902, 0.9433),
    )


def test_a_wide_state_is_finer() -> None:
    """On a range so wide that 8 bits round the state away, 16 bits still hold it."""
    p, frames = parameters(TINY), clips(TINY, 20)
    # What comes from the state decides the answer, not what goes past it.
    p |= {"0.d": 0 * p["0.d"], "0.dt_bias": p["0.dt_bias"] + 3}
    p |= {name: 2 * p[name] for name in ("0.x_proj", "0.in_proj")}
    coarse = grids(TINY, scale=0.04) | {"logits": Grid(0.02), "0.h": Grid(4.0)}
    exact = float_grids(coarse)
    floats = run_in_refmicro(streaming_model(TINY, p, exact, StreamingOptions(bits=32)), frames)
    errors = []
    for state_bits in (8, 16):
        options = StreamingOptions(state_bits=state_bits)
        model = streaming_model(TINY, p, coarse, options)
        errors.append(np.std(run_in_refmicro(model, frames) * 0.02 - floats))
    assert errors[1] < 0.8 * errors[0]


def test_a_scale_a_row_is_finer() -> None:
    """One row with weights a hundred times larger takes the grid from all others."""
    p, frames = parameters(TINY), clips(TINY, 20)
    p["head"] = p["head"] * np.array([[100], [1], [1], [1]], np.float32)
    chosen = grids(TINY, scale=0.01) | {"frame": Grid(0.03), "logits": Grid(0.5)}
    models = [
        streaming_model(TINY, p, chosen, StreamingOptions(per_channel=channels, names=True))
        for channels in (False, True)
    ]
    names = [tensor.name for tensor in models[0].subgraphs[0].tensors]
    found = [m.subgraphs[0].tensors[names.index("w_logits")] for m in models]
    wanted = p["head"] @ p["0.out_proj"]
    errors = [
        np.abs(t.array() * np.array(t.quantization.scale)[:, None] - wanted)[1:].max()
        for t in found
    ]
    assert errors[1] < 0.1 * errors[0]
    assert not np.array_equal(*(run_in_refmicro(model, frames) for model in models))
