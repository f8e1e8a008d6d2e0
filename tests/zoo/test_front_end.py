"""Sound to frames by TFLM's signal operators: its own tables, one arithmetic in the graph."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro.compare import check_model
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Operator
from refmicro.model.reader import read_model
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.zoo.evaluate import run_in_refmicro, run_in_tflm
from refmicro.zoo.features import FeatureConfig, normaliser_of
from refmicro.zoo.front_end import (
    filter_tables,
    integer_extractor,
    pcan_table,
    sound_model,
    window_weights,
    windows,
)
from refmicro.zoo.quantise import frame_grid
from refmicro.zoo.streaming import streaming_model
from tests.models import TFLM
from tests.zoo.kws_models import TINY, grids, parameters

PREPROCESSOR = read_model(TFLM["audio_preprocessor_int8"]).subgraphs[0]
KINDS = ("tflm", "tflm-pcan")
CONFIGS = {kind: FeatureConfig(kind, TINY.features) for kind in KINDS}


def operator(name: str) -> Operator:
    """TFLM's own use of an operator."""
    return next(op for op in PREPROCESSOR.operators if op.name == name)


def constant(op: Operator, slot: int) -> np.ndarray:
    return PREPROCESSOR.tensors[op.inputs[slot]].array()


def sound(count: int, samples: int = 16000, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes, with a quiet and a silent clip among them: int16."""
    rng = np.random.default_rng(seed)
    loud = np.array([3000.0, 20.0, 0.0, 20000.0])[np.arange(count) % 4, None]
    swell = np.abs(np.sin(np.arange(samples) / 1500))
    noise = rng.normal(0, 1, (count, samples)) * swell * loud
    return noise.clip(-32768, 32767).astype(np.int16)


# Tables


def test_the_window_is_that_of_tflm() -> None:
    want = constant(operator("SignalWindow"), 1)
    assert (window_weights(len(want)) == want).all()


def test_the_gain_is_that_of_tflm() -> None:
    """7 bits: 10 of smoothing less 3 that the transform of 512 values and the weights leave."""
    want = constant(operator("SignalPCAN"), 2)
    found = pcan_table(7)
    assert found.shape == want.shape
    assert (found == want).all()


def dense(tables: list[np.ndarray]) -> np.ndarray:
    """(lines, channels) of the weights that each line has in each channel."""
    falling, rising, frequencies, places, widths = (table.astype(int) for table in tables)
    matrix = np.zeros((257, len(widths) + 1), int)
    for band, (line, place, width) in enumerate(zip(frequencies, places, widths, strict=True)):
        matrix[line : line + width, band] += falling[place : place + width]
        matrix[line : line + width, band + 1] += rising[place : place + width]
    return matrix[:, 1:-1]


def test_filters_are_those_of_tflm() -> None:
    bank = operator("SignalFilterBank")
    want = dense([constant(bank, slot) for slot in range(1, 6)])
    found = dense(list(dataclasses.astuple(filter_tables(40, 512))))
    assert want.shape == found.shape == (257, 40)
    assert np.abs(found - want).max() <= 1


@pytest.mark.parametrize("channels", [1, 10, 40, 80])
def test_channels_of_any_number_stay_inside_the_spectrum(channels: int) -> None:
    tables = filter_tables(channels, 512)
    assert len(tables.widths) == channels + 1
    assert tables.widths.min() >= 0
    ends = tables.frequency_starts + tables.widths
    assert tables.frequency_starts.min() >= 1
    assert ends.max() <= 257
    assert (tables.weight_starts + tables.widths).max() <= len(tables.weights)


# One arithmetic


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_a_corpus_are_frames_of_a_clip(kind: str) -> None:
    """All clips at once, and the model with the front end: the same logits, byte for byte."""
    config = CONFIGS[kind]
    clips = sound(4)
    features = integer_extractor(config)(clips)
    assert features.shape == (4, 80, TINY.features) == (4, config.frames, config.features)
    normaliser = normaliser_of(config, features)
    found = {**grids(TINY), "frame": frame_grid()}
    weights = parameters(TINY)
    want = run_in_refmicro(streaming_model(TINY, weights, found), normaliser(features))
    whole = sound_model(TINY, config, weights, found, normaliser)
    got = run_in_refmicro(whole, clips.reshape(4, -1, config.hop_samples))
    assert got.tobytes() == want.tobytes()


def test_windows_are_those_of_the_framer() -> None:
    config = FeatureConfig("tflm")
    clips = sound(2)
    rows = windows(config, clips)
    assert rows.shape == (2, 80, 400)
    assert not rows[:, 0, :200].any()
    assert (rows[:, 1:, :200] == rows[:, :-1, 200:]).all()
    assert (rows[:, :, 200:].reshape(2, -1) == clips).all()


@pytest.mark.parametrize("kind", KINDS)
def test_normalised_features_are_normalised(kind: str) -> None:
    config = CONFIGS[kind]
    features = integer_extractor(config)(sound(8, seed=1))
    normaliser = normaliser_of(config, features)
    exact = np.clip((features - normaliser.mean) / normaliser.deviation, -4, 4)
    found = normaliser(features)
    steps = found / np.float32(frame_grid().scale)
    assert (steps == np.round(steps)).all()
    assert np.abs(found - exact).max() < 1.1 * frame_grid().scale


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
def test_sound_in_and_label_out_are_the_same_in_tflm(kind: str) -> None:
    config = CONFIGS[kind]
    clips = sound(4, 4000).reshape(4, -1, config.hop_samples)
    normaliser = normaliser_of(config, integer_extractor(config)(sound(4)))
    found = {**grids(TINY), "frame": frame_grid()}
    model = sound_model(TINY, config, parameters(TINY), found, normaliser)
    want = run_in_tflm(model, clips).outputs
    assert run_in_refmicro(model, clips).tobytes() == want.tobytes()
    assert len(np.unique(want)) > 4
    assert check_model(model, "sound", count=3).equal


def test_the_scan_of_a_model_of_sound_is_fused() -> None:
    config = CONFIGS["tflm"]
    normaliser = normaliser_of(config, integer_extractor(config)(sound(2)))
    found = {**grids(TINY), "frame": frame_grid()}
    source = sound_model(TINY, config, parameters(TINY), found, normaliser)
    result = fuse_scan(source)
    assert result.scans == ((1, 16, 4),)
    clips = sound(2, 2000).reshape(2, -1, 1, config.hop_samples)
    runs = [Interpreter(m).invoke_sequence([clips])[0] for m in (source, result.model)]
    assert runs[0].tobytes() == runs[1].tobytes()
