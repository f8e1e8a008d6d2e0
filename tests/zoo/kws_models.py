"""Small keyword spotters with untrained weights for tests."""

from __future__ import annotations

import numpy as np

from refmicro.zoo.mamba import MambaConfig, initial_parameters
from refmicro.zoo.quantise import Grid

TINY = MambaConfig(features=10, frames=12, classes=4, d_model=8, d_state=4, dt_rank=2)
NAMES = (
    *("tail", "conv", "x", "step_low", "step", "b", "c", "u", "decay_log", "h", "input"),
    *("scan", "skip", "y", "gate", "gate_silu", "gated", "out", "sum"),
)


def grids(config: MambaConfig, bits: int = 8, scale: float = 0.02) -> dict[str, Grid]:
    """A grid for each activation."""
    scale *= 2.0 ** (8 - bits)
    found = {
        f"{layer}.{name}": Grid(scale, 0, bits) for layer in range(config.layers) for name in NAMES
    }
    return found | {name: Grid(scale, 0, bits) for name in ("frame", "stem", "logits")}


def parameters(config: MambaConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights with biases that are not zero, so that a lost one is seen."""
    rng = np.random.default_rng(seed)
    found = initial_parameters(config, seed)
    return {
        name: value + rng.normal(0, 0.1, value.shape).astype(np.float32)
        for name, value in found.items()
    }


def clips(config: MambaConfig, count: int, seed: int = 0) -> np.ndarray:
    """Normalised features, float32 (count, frames, features)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, config.frames, config.features)).astype(np.float32)
