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

STATE = ("h", "input", "decay_log")
"""What the recurrence adds up, and the argument of its decay: they have the bits of the state."""

SCAN_INPUT = ("x", "u", "input", "b")
"""What enters the recurrence; its outliers are cut at a percentile of their own."""

NOT_BY_ROW = ("w_tail", "w_conv", "w_skip", "w_a_log")
"""Constants of SVDF, MUL and SUB, which have one scale."""

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
        state_bits: 8 or 16, of the recurrence: its state, what enters it, its decays.
        per_channel: matrices of FULLY_CONNECTED have a scale a row.
    """

    percentile: float = 99.9
    scan_percentile: float = 99.9
    bits: int = 8
    state_bits: int = 8
    per_channel: bool = False


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
    bits = max(config.bits, config.state_bits) if short in STATE else config.bits
    highest = (1 << (bits - 1)) - 1
    if name == "frame":
        return frame_grid(config.bits)
    if short in ASYMMETRIC and bits == 8:
        low = min(0.0, float(np.percentile(values, 100 - share)))
        high = max(1e-6, float(np.percentile(values, share)))
        scale = float(np.float32((high - low) / 255))
        return Grid(scale, round(-128 - low / scale), config.bits)
    largest = max(1e-6, float(np.percentile(np.abs(values), share)))
    return Grid(float(np.float32(largest / highest)), 0, bits)


class Rounding:
    """The tap that rounds to the grids as TFLM will, gradients passing straight through.

    `scales` maps names to the logarithm of the scale, TensorFlow scalars that may be trained.
    """

    records = False

    def __init__(
        self,
        grids: dict[str, Grid],
        scales: dict[str, Any],
        unit_bits: int = 8,
        *,
        per_channel: bool = False,
    ) -> None:
        import tensorflow as tf

        self.tf = tf
        self.grids = grids
        self.scale = {name: tf.exp(value) for name, value in scales.items()}
        self.unit_bits = unit_bits
        self.per_channel = per_channel

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
        # A decay has the bits of what it is a function of.
        grid = self.grids.get(f"{name}_log")
        bits = self.unit_bits if grid is None else grid.bits
        levels = 1 << (bits if bits == 8 else bits - 1)
        return self._round(value, self.tf.constant(1.0 / levels), 0, levels - 1)

    def weight(self, name: str, value: Any) -> Any:
        tf = self.tf
        grid = self.grids.get(name.replace("w_a_log", "decay_log"))
        highest = 32767 if grid is not None and grid.bits == 16 else 127
        rows = self.per_channel and not name.endswith(NOT_BY_ROW)
        largest = tf.reduce_max(tf.abs(value))
        if rows:
            # A row of zeros would have no scale.
            of_row = tf.reduce_max(tf.abs(value), 1, keepdims=True)
            largest = tf.maximum(of_row, largest / 1024.0)
        scale = tf.stop_gradient(largest / float(highest) + 1e-12)
        return self._round(value, scale, -highest, highest)
