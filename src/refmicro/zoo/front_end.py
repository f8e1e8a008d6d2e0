"""Sound to frames in integers: TFLM's signal operators, in the graph and on whole corpora.

    samples -> FRAMER -> WINDOW -> FFT_AUTO_SCALE -> RFFT -> ENERGY -> FILTER_BANK -> SQUARE_ROOT
            [-> SPECTRAL_SUBTRACTION -> PCAN] -> LOG -> normalised int8 frame

Features that a model is trained on are computed by the very operators that run on the device, so
that a clip gives the same bytes in both. One invocation takes the samples of one hop; FRAMER keeps
those before them and begins with silence.

Normalisation is per coefficient: ADD takes the mean away, MUL divides by the deviation, QUANTIZE
gives int8, whose range is the one at which other features are cut.

Source: `tensorflow/lite/micro/examples/micro_speech/audio_preprocessor.py`,
`python/tflite_micro/signal/ops/{filter_bank_ops,pcan_op,window_op}.py`,
`python/tflite_micro/signal/utils/{freq_to_mel,wide_dynamic_func_lut}_wrapper.cc`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.options import custom_options
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import DType, Quantization, Tensor
from refmicro.zoo.features import FeatureConfig, Normaliser
from refmicro.zoo.mamba import MambaConfig
from refmicro.zoo.quantise import Grid, frame_grid
from refmicro.zoo.speech_commands import SAMPLE_RATE
from refmicro.zoo.streaming import (
    Builder,
    StreamingOptions,
    finish_model,
    sum_of_logits,
    write_step,
)

_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0
_WINDOW_BITS, _WEIGHT_BITS, _LOG_BITS = 12, 12, 6
_SUBTRACTION = {
    "smoothing": 0.025,
    "alternate_smoothing": 0.06,
    "min_signal_remaining": 0.05,
}
_SUBTRACTION_BITS, _SMOOTHING_BITS = 14, 10
_PCAN_STRENGTH, _PCAN_OFFSET, _PCAN_GAIN_BITS, _PCAN_SNR_SHIFT = 0.95, 80.0, 21, 6
_LOG_GRID = Grid(1 / (1 << _LOG_BITS), 0, 16)


def fft_length(config: FeatureConfig) -> int:
    """The power of two that holds a window."""
    return 1 << (config.window_samples - 1).bit_length()


def window_weights(length: int) -> np.ndarray:
    """Hann's window, int16, in units of 2^-12."""
    place = (np.arange(length) + 0.5) / length
    raised = 0.5 - 0.5 * np.cos(2 * np.pi * place)
    return np.round(raised * (1 << _WINDOW_BITS)).astype(np.int16)


@dataclass(frozen=True)
class FilterTables:
    """What FILTER_BANK reads, int16: falling and rising edges of the triangles, and where bands
    begin in the spectrum and in the weights, with their widths."""

    weights: np.ndarray
    unweights: np.ndarray
    frequency_starts: np.ndarray
    weight_starts: np.ndarray
    widths: np.ndarray


def filter_tables(channels: int, length: int) -> FilterTables:
    """Triangles that are even on the mel scale, without DC.

    Bands lie between the centres of neighbouring triangles; channel c falls over band c + 1 and
    rises over band c.

    Args:
        channels: of the result.
        length: of the transform.
    """

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    lines = np.arange(1, length // 2)
    heights = mel(lines * SAMPLE_RATE / length)
    edges = np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), channels + 2)
    starts, widths, falling, rising = [], [], [], []
    for low, high in itertools.pairwise(edges):
        band = lines[(heights > low) & (heights <= high)]
        share = (high - heights[band - 1]) / (high - low)
        starts.append(int(band[0]) if len(band) else 1)
        widths.append(len(band))
        falling += [int(value * (1 << _WEIGHT_BITS)) for value in share]
        rising += [int((1 - value) * (1 << _WEIGHT_BITS)) for value in share]
    places = np.cumsum([0, *widths[:-1]])
    found = (falling, rising, starts, np.minimum(places, len(falling) - 1), widths)
    return FilterTables(*(np.array(values, np.int16) for values in found))


def pcan_table(input_bits: int) -> np.ndarray:
    """The gain 2^21 * (x / 2^input_bits + 80)^-0.95, a quadratic for each power of two: int16."""

    def gain(x: int) -> int:
        real = (x / (1 << input_bits) + _PCAN_OFFSET) ** -_PCAN_STRENGTH
        return min(int(real * (1 << _PCAN_GAIN_BITS) + 0.5), 32767)

    table = [gain(0), gain(1)]
    for interval in range(2, 33):
        low = 1 << (interval - 1)
        top = 2 * low if interval < 32 else 2 * low - 1
        middle, whole = gain(low + low // 2) - gain(low), gain(top) - gain(low)
        first = 4 * middle - whole
        table += [gain(low), first, whole - first, 0]
    return np.array(table[:125], np.int16)


# The graph


def _signal(
    build: Builder, name: str, inputs: tuple[int, ...], outputs: Any, **options: int
) -> Any:
    """One operator of the signal library; its output, or all of them."""
    results = outputs if isinstance(outputs, tuple) else (outputs,)
    code = OperatorCode("CUSTOM", name)
    packed = custom_options(**options)
    build.operators.append(Operator(code, inputs, results, custom_options=packed))
    return outputs


def _plain(build: Builder, dtype: DType, *shape: int) -> int:
    """A tensor without quantization."""
    build.tensors.append(Tensor("", dtype, shape))
    return len(build.tensors) - 1


def write_window(build: Builder, config: FeatureConfig, samples: int) -> tuple[int, int]:
    """From a hop of samples, int16 (1, hop), to windowed samples (window,) and their scale."""
    size, hop = config.window_samples, config.hop_samples
    framed, valid = _plain(build, DType.INT16, 1, 1, size), _plain(build, DType.BOOL)
    options = {"frame_size": size, "frame_step": hop, "prefill": 1}
    _signal(build, "SignalFramer", (samples,), (framed, valid), **options)
    return _scaled(build, config, framed)


def _scaled(build: Builder, config: FeatureConfig, framed: int) -> tuple[int, int]:
    size = config.window_samples
    weights = build.constant("window", DType.INT16, window_weights(size))
    shape = build.tensors[framed].shape
    tapered = _plain(build, DType.INT16, *shape)
    _signal(build, "SignalWindow", (framed, weights), tapered, shift=_WINDOW_BITS)
    flat = _plain(build, DType.INT16, size)
    build.add("RESHAPE", (tapered,), flat, new_shape=(size,))
    loud, bits = _plain(build, DType.INT16, size), _plain(build, DType.INT32)
    _signal(build, "SignalFftAutoScale", (flat,), (loud, bits))
    return loud, bits


def write_amplitudes(build: Builder, config: FeatureConfig, loud: int, bits: int) -> int:
    """From scaled samples to one amplitude a channel, uint32 (features,)."""
    length, channels = fft_length(config), config.features
    lines = length // 2 + 1
    spectrum = _plain(build, DType.INT16, 2 * lines)
    _signal(build, "SignalRfft", (loud,), spectrum, T=DType.INT16.value, fft_length=length)
    energy = _plain(build, DType.UINT32, lines)
    _signal(build, "SignalEnergy", (spectrum,), energy, start_index=0, end_index=lines)
    tables = filter_tables(channels, length)
    fields = ("weights", "unweights", "frequency_starts", "weight_starts", "widths")
    constants = tuple(build.constant(name, DType.INT16, getattr(tables, name)) for name in fields)
    sums = _plain(build, DType.UINT64, channels)
    _signal(build, "SignalFilterBank", (energy, *constants), sums, num_channels=channels)
    roots = _plain(build, DType.UINT32, channels)
    return _signal(build, "SignalFilterBankSquareRoot", (sums, bits), roots)


def write_log(build: Builder, config: FeatureConfig, amplitudes: int) -> int:
    """From amplitudes to logarithms in units of 1/64, int16 (features,)."""
    channels = config.features
    correction = fft_length(config).bit_length() - 1 - _WEIGHT_BITS // 2
    value = amplitudes
    if config.kind == "tflm-pcan":
        kept, noise = (_plain(build, DType.UINT32, channels) for _ in range(2))
        one = 1 << _SUBTRACTION_BITS
        shares = {name: int(share * one) for name, share in _SUBTRACTION.items()}
        options = {
            **shares,
            "one_minus_smoothing": one - shares["smoothing"],
            "alternate_one_minus_smoothing": one - shares["alternate_smoothing"],
            "smoothing_bits": _SMOOTHING_BITS,
            "spectral_subtraction_bits": _SUBTRACTION_BITS,
            "clamping": 0,
            "num_channels": channels,
        }
        name = "SignalFilterBankSpectralSubtraction"
        _signal(build, name, (value,), (kept, noise), **options)
        table = build.constant("gain", DType.INT16, pcan_table(_SMOOTHING_BITS - correction))
        value = _plain(build, DType.UINT32, channels)
        _signal(build, "SignalPCAN", (kept, noise, table), value, snr_shift=_PCAN_SNR_SHIFT)
    out = build.tensor("log", (channels,), _LOG_GRID)
    options = {"input_correction_bits": correction, "output_scale": 1 << _LOG_BITS}
    return _signal(build, "SignalFilterBankLog", (value,), out, **options)


def write_normalised(build: Builder, source: int, normaliser: Normaliser, frame: Grid) -> int:
    """(x - mean) / deviation as int8 (1, features) on the grid of a frame."""
    count = len(normaliser.mean)
    limits = np.iinfo(np.int16)
    means = np.round(-normaliser.mean / _LOG_GRID.scale).clip(limits.min, limits.max)
    quantization = Quantization((_LOG_GRID.scale,), (0,))
    mean = build.constant("mean", DType.INT16, means.astype(np.int16)[None], quantization)
    centred = build.tensor("centred", (1, count), _LOG_GRID)
    build.add("ADD", (source, mean), centred)
    factor = build.weight("rates", 1 / normaliser.deviation[None], bits=16)
    wide = build.tensor("wide", (1, count), Grid(_f32(frame.scale / 256), 0, 16))
    build.add("MUL", (centred, factor), wide)
    return build.add("QUANTIZE", (wide,), build.tensor("frame", (1, count), frame))


def _f32(value: float) -> float:
    return float(np.float32(value))


def sound_model(
    config: MambaConfig,
    features: FeatureConfig,
    parameters: dict[str, np.ndarray],
    grids: dict[str, Grid],
    normaliser: Normaliser,
    options: StreamingOptions | None = None,
) -> Model:
    """Sound in, label out: int16 (1, hop) samples to the sum of logits, int16 (1, classes).

    Args:
        config, parameters, grids, options: as for `streaming_model`, int8.
        features: of a kind that TFLM's operators compute.
        normaliser: of the features.
    """
    options = options or StreamingOptions()
    build = Builder(options.state, options.per_channel)
    samples = _plain(build, DType.INT16, 1, features.hop_samples)
    amplitudes = write_amplitudes(build, features, *write_window(build, features, samples))
    log = write_log(build, features, amplitudes)
    frame = write_normalised(build, log, normaliser, grids["frame"])
    logits = write_step(build, config, parameters, grids, options, frame)
    total = sum_of_logits(build, logits, config.classes)
    return finish_model(build, samples, total, options)


# Whole corpora


def _model(build: Builder, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Interpreter:
    graph = Subgraph(tuple(build.tensors), inputs, outputs, tuple(build.operators))
    return Interpreter(parse_model(write_model(Model((graph,)))))


def integer_extractor(config: FeatureConfig) -> Callable[[np.ndarray], np.ndarray]:
    """A function from int16 sound (N, 16000) to logarithms, float32 (N, frames, features).

    What has no memory runs over all frames at once, the rest frame by frame over all clips.
    """
    build = Builder()
    framed = _plain(build, DType.INT16, config.window_samples)
    amplitudes = write_amplitudes(build, config, *_scaled(build, config, framed))
    first = _model(build, (framed,), (amplitudes,))
    build = Builder()
    given = _plain(build, DType.UINT32, config.features)
    last = _model(build, (given,), (write_log(build, config, given),))

    def extract(audio: np.ndarray) -> np.ndarray:
        rows = windows(config, audio)
        flat = rows.reshape(-1, config.window_samples)
        (found,) = first.invoke_batch([flat])
        found = found.reshape(len(audio), -1, config.features)
        (logs,) = last.invoke_sequence([found])
        return logs.astype(np.float32) * np.float32(_LOG_GRID.scale)

    return extract


def windows(config: FeatureConfig, audio: np.ndarray) -> np.ndarray:
    """What FRAMER gives for clips (N, samples): int16 (N, frames, window)."""
    size, hop = config.window_samples, config.hop_samples
    padded = np.pad(audio, ((0, 0), (size - hop, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]


@dataclass(frozen=True)
class IntegerNormaliser(Normaliser):
    """The normalisation of the graph, by its operators: float32 values of int8 frames."""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        grid = frame_grid()
        rows = np.round(features / _LOG_GRID.scale).astype(np.int16).reshape(-1, len(self.mean))
        (found,) = self._machine.invoke_batch([rows])
        return found.reshape(features.shape).astype(np.float32) * np.float32(grid.scale)

    @cached_property
    def _machine(self) -> Interpreter:
        build = Builder()
        source = build.tensor("log", (len(self.mean),), _LOG_GRID)
        frame = write_normalised(build, source, self, frame_grid())
        return _model(build, (source,), (frame,))
