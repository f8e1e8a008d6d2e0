"""Grids for the tensors of the integer model: calibration, and rounding while training.

An activation has one scale and zero point (TFLM's operators between matrices know no more). What a
sigmoid gives has TFLM's fixed grid, n/256 in int8 and n/32768 in int16 (`LogisticPrepare` in
`tensorflow/lite/micro/kernels/logistic_common.cc`). A constant has the scale of its largest value.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.zoo.features import CLIP_DEVIATIONS

ASYMMETRIC = ("x", "u", "gate_silu", "elu")
"""Tensors that hardly go below zero: they have a zero point of their own in int8."""

SCAN_INPUT = ("x", "u", "input", "b")
"""What enters the recurrence; its outliers are cut at a percentile of their own."""

_SAMPLES_A_CALL = 20_000


@dataclass(frozen=True)
class Grid:
    """real = scale * (q - zero_point), q within `bits` bits, signed."""

    scale: float
    zero_point: int = 0
    bits: int = 8

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest q."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class CalibrationConfig:
    """How ranges are chosen.

    Attributes:
        percentile: of the absolute values of an activation; 100 is the largest seen.
        scan_percentile: the same for the tensors of `SCAN_INPUT`.
        bits: 8 or 16, of all activations.
    """

    percentile: float = 99.9
    scan_percentile: float = 99.9
    bits: int = 8


def frame_grid(bits: int = 8) -> Grid:
    """The grid of features that are cut at `CLIP_DEVIATIONS`."""
    return Grid(float(np.float32(CLIP_DEVIATIONS / ((1 << (bits - 1)) - 1))), 0, bits)


class Recorder:
    """The tap that keeps a sample of each activation, and every extreme."""

    records = True

    def __init__(self, seed: int = 0) -> None:
        self.samples: dict[str, list[np.ndarray]] = {}
        self.random = np.random.default_rng([seed, 20])

    def act(self, name: str, value: Any) -> Any:
        flat = value.numpy().reshape(-1)
        if flat.size > _SAMPLES_A_CALL:
            chosen = flat[self.random.integers(0, flat.size, _SAMPLES_A_CALL)]
            flat = np.append(chosen, [flat.min(), flat.max()])
        self.samples.setdefault(name, []).append(flat)
        return value

    def unit(self, name: str, value: Any) -> Any:
        return value

    weight = unit

    def scales(self, names: list[str]) -> list[Any]:
        return []

    def bound(self, names: list[str], scales: Sequence[Any]) -> Recorder:
        return self

    def grids(self, config: CalibrationConfig) -> dict[str, Grid]:
        """A grid for each activation that was seen."""
        return {
            name: _grid(name, np.concatenate(parts), config) for name, parts in self.samples.items()
        }


def _grid(name: str, values: np.ndarray, config: CalibrationConfig) -> Grid:
    short = name.split(".")[-1]
    share = config.scan_percentile if short in SCAN_INPUT else config.percentile
    highest = (1 << (config.bits - 1)) - 1
    if name == "frame":
        return frame_grid(config.bits)
    if short in ASYMMETRIC and config.bits == 8:
        low = min(0.0, float(np.percentile(values, 100 - share)))
        high = max(1e-6, float(np.percentile(values, share)))
        scale = float(np.float32((high - low) / 255))
        return Grid(scale, round(-128 - low / scale), config.bits)
    largest = max(1e-6, float(np.percentile(np.abs(values), share)))
    return Grid(float(np.float32(largest / highest)), 0, config.bits)


class Rounding:
    """The tap that rounds to the grids as TFLM will, gradients passing straight through.

    `scales` maps names to the logarithm of the scale, TensorFlow scalars that may be trained.
    """

    records = False

    def __init__(self, grids: dict[str, Grid], scales: dict[str, Any], unit_bits: int = 8) -> None:
        import tensorflow as tf

        self.tf = tf
        self.grids = grids
        self.scale = {name: tf.exp(value) for name, value in scales.items()}
        self.unit_levels = 1 << (unit_bits if unit_bits == 8 else unit_bits - 1)

    def _round(self, value: Any, scale: Any, low: int, high: int) -> Any:
        """`value` on the grid scale * (low .. high).

        Its gradient is written out so that a loop over time keeps one tensor a rounding, not each
        intermediate of the arithmetic. Inside of the grid rounding passes a gradient on; a scale
        learns from what rounding and clipping change (Esser et al., Learned Step Size
        Quantization, 2020).
        """
        tf = self.tf

        @tf.custom_gradient
        def rounded(value: Any, scale: Any) -> Any:
            steps = tf.clip_by_value(tf.round(value / scale), float(low), float(high))

            def gradient(above: Any) -> tuple[Any, Any]:
                exact = value / scale
                limited = tf.clip_by_value(tf.round(exact), float(low), float(high))
                inside = tf.abs(exact - limited) <= 0.5
                change = tf.where(inside, limited - exact, limited)
                return tf.where(inside, above, 0.0), tf.reduce_sum(above * change)

            return steps * scale, gradient

        return rounded(value, scale)

    def scales(self, names: list[str]) -> list[Any]:
        """The scales of these activations; none for those that the model does not have."""
        return [self.scale[name] for name in names if name in self.scale]

    def bound(self, names: list[str], scales: Sequence[Any]) -> Rounding:
        """The same tap, these activations with other scale tensors."""
        other = copy.copy(self)
        known = [name for name in names if name in self.scale]
        other.scale = {**self.scale, **dict(zip(known, scales, strict=True))}
        return other

    def act(self, name: str, value: Any) -> Any:
        grid, scale = self.grids[name], self.scale[name]
        low, high = grid.limits
        return self._round(value, scale, low - grid.zero_point, high - grid.zero_point)

    def unit(self, name: str, value: Any) -> Any:
        scale = self.tf.constant(1.0 / self.unit_levels)
        return self._round(value, scale, 0, self.unit_levels - 1)

    def weight(self, name: str, value: Any) -> Any:
        tf = self.tf
        scale = tf.stop_gradient(tf.reduce_max(tf.abs(value)) / 127.0 + 1e-12)
        return self._round(value, scale, -127, 127)
