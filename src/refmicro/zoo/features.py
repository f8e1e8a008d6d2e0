"""Sound to frames of features: log-mel energies or MFCC, by TensorFlow's own signal library, or
logarithms by TFLM's signal operators.

The published keyword spotter sees 40 MFCC in 81 frames a second: windows of 25 ms every 12.5 ms,
the first and the last centred on the ends of the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refmicro.zoo.speech_commands import CLIP_SAMPLES, SAMPLE_RATE

KINDS = ("mfcc", "logmel", "tflm", "tflm-pcan")
"""The latter two are integer: log-mel amplitudes, the last one with noise suppression and gain."""

_LOWEST_HZ, _HIGHEST_HZ = 20.0, 7600.0
_FLOOR = 1e-5
"""Added to an energy before its logarithm: about what the noise of a 16-bit microphone gives."""

CLIP_DEVIATIONS = 4.0
"""Features are cut at this many standard deviations, so that int8 has a fixed scale for them."""


@dataclass(frozen=True)
class FeatureConfig:
    """What a frame is.

    Attributes:
        kind: one of `KINDS`.
        features: coefficients a frame.
        window_samples, hop_samples: length and distance of windows.
    """

    kind: str = "mfcc"
    features: int = 40
    window_samples: int = 400
    hop_samples: int = 200

    @property
    def frames(self) -> int:
        """Frames of one second."""
        return CLIP_SAMPLES // self.hop_samples + (0 if self.is_integer else 1)

    @property
    def is_integer(self) -> bool:
        """Whether TFLM's operators compute the features."""
        return self.kind.startswith("tflm")

    @property
    def frames_per_second(self) -> float:
        """Frames of a second in a stream without ends."""
        return SAMPLE_RATE / self.hop_samples


def extractor(config: FeatureConfig) -> Callable[[np.ndarray], np.ndarray]:
    """A function from int16 sound (N, 16000) to float32 features (N, frames, features)."""
    if config.is_integer:
        from refmicro.zoo.front_end import integer_extractor

        return integer_extractor(config)
    import tensorflow as tf

    fft = 1 << (config.window_samples - 1).bit_length()
    # A triangle must not fall between two lines of the spectrum.
    bands = max(config.features, 40)
    mel = tf.signal.linear_to_mel_weight_matrix(
        bands, fft // 2 + 1, SAMPLE_RATE, _LOWEST_HZ, _HIGHEST_HZ
    )
    half = config.window_samples // 2

    @tf.function(input_signature=[tf.TensorSpec((None, CLIP_SAMPLES), tf.int16)])
    def features(audio):
        sound = tf.cast(audio, tf.float32) / 32768.0
        sound = tf.pad(sound, [[0, 0], [half, half]])
        spectrum = tf.signal.stft(sound, config.window_samples, config.hop_samples, fft)
        energy = tf.math.log(tf.matmul(tf.math.square(tf.abs(spectrum)), mel) + _FLOOR)
        if config.kind == "mfcc":
            energy = tf.signal.mfccs_from_log_mel_spectrograms(energy)
        return energy[:, : config.frames, : config.features]

    return lambda audio: features(tf.constant(audio)).numpy()


def normaliser_of(config: FeatureConfig, features: np.ndarray) -> Normaliser:
    """The normaliser of features (N, frames, features) of one kind."""
    found = Normaliser.of(features)
    if not config.is_integer:
        return found
    from refmicro.zoo.front_end import IntegerNormaliser

    return IntegerNormaliser(found.mean, found.deviation)


@dataclass(frozen=True)
class Normaliser:
    """Mean and deviation of each coefficient, float32 of shape (features,)."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(features: np.ndarray) -> Normaliser:
        """Of features (N, frames, features)."""
        flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
        return Normaliser(flat.mean(0).astype(np.float32), (flat.std(0) + 1e-6).astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        scaled = (features - self.mean) / self.deviation
        return np.clip(scaled, -CLIP_DEVIATIONS, CLIP_DEVIATIONS).astype(np.float32)
