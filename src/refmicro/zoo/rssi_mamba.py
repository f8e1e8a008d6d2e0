"""The Mamba of indoor localisation: floats, parameter counts, and the integer step model.

    frames -> Linear(+bias) -> (x + Mamba(RMSNorm(x))) x layers -> Linear, one answer a step

Counts of Suwannaphong et al. (2025, tables 4 to 8) follow with d_state 16, d_conv 4, expand 2,
dt_rank ceil(H/16), one weight vector a block for its norm, a head without bias, and a CRF; one of
theirs does not: H2 L1 on UJIIndoorLoc has 5,013 parameters here and 5,020 there.

The integer model takes one sample and keeps the state of the scan and the tail of the convolution
in variable tensors, so that its RAM does not depend on how long a window is. RMSNorm is one
operator: L2_NORMALIZATION gives rows of length 1, and sqrt(H) and the norm's weights are part of
the projection after it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.model.graph import Model
from refmicro.zoo.mamba import LayerWeights, MambaConfig, Tap, layer_forward
from refmicro.zoo.mdcsa import crf_count, unit_rows
from refmicro.zoo.mdcsa_integer import planned
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import (
    Builder,
    LayerWriter,
    StreamingOptions,
    finish_model,
    linear_operator,
)


@dataclass(frozen=True)
class RssiMambaConfig:
    """Dimensions; the others are fixed as in the paper."""

    access_points: int = 8
    classes: int = 4
    hidden: int = 8
    layers: int = 1
    steps: int = 20

    @property
    def block(self) -> MambaConfig:
        """Dimensions of one block."""
        return MambaConfig(
            features=self.hidden,
            frames=self.steps,
            classes=self.classes,
            d_model=self.hidden,
            dt_rank=-(-self.hidden // 16),
            # Blocks are followed by a sum, never merged with the head.
            layers=0,
            dt_min=0.02,
        )


def _block_shapes(config: RssiMambaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of one block's arrays, rows are outputs."""
    block = config.block
    h, e, n, r = config.hidden, block.d_inner, block.d_state, block.dt_rank
    return {
        "norm": (h,),
        "in_proj": (2 * e, h),
        "conv": (e, block.d_conv),
        "conv_bias": (e,),
        "x_proj": (r + 2 * n, e),
        "dt_proj": (e, r),
        "dt_bias": (e,),
        "a_log": (e, n),
        "d": (e,),
        "out_proj": (h, e),
    }


def _shapes(config: RssiMambaConfig) -> dict[str, tuple[int, ...]]:
    h = config.hidden
    found: dict[str, tuple[int, ...]] = {"embed": (h, config.access_points), "embed_bias": (h,)}
    for layer in range(config.layers):
        found |= {f"{layer}.{name}": shape for name, shape in _block_shapes(config).items()}
    return found | {"head": (config.classes, h)}


def parameter_count(config: RssiMambaConfig) -> int:
    """Parameters as the paper counts them, with the CRF."""
    return reached_count(config) + crf_count(config.classes)


def reached_count(config: RssiMambaConfig) -> int:
    """Parameters without the CRF: those of the graph."""
    return sum(math.prod(shape) for shape in _shapes(config).values())


def initial_parameters(config: RssiMambaConfig, seed: int) -> dict[str, np.ndarray]:
    """Weights as Mamba initialises them: float32 arrays by name, blocks as `0.in_proj`, ..."""
    rng = np.random.default_rng([seed, 12])
    block = config.block
    found = {}
    for name, shape in _shapes(config).items():
        short = name.split(".")[-1]
        if short == "dt_bias":
            step = np.exp(rng.uniform(math.log(block.dt_min), math.log(block.dt_max), shape))
            value = np.log(step / (1 - step))
        elif short == "a_log":
            value = np.tile(np.log(np.arange(1, shape[1] + 1)), (shape[0], 1))
        elif len(shape) == 1:
            value = np.full(shape, float(short in ("d", "norm")))
        else:
            value = rng.uniform(-1, 1, shape) / math.sqrt(shape[1])
        found[name] = value.astype(np.float32)
    return found


def block_weights(config: RssiMambaConfig, p: dict[str, Any], layer: int) -> LayerWeights:
    """Block `layer` as the integer model holds it; its norm is part of the input projections."""
    own = {name.split(".", 1)[1]: p[name] for name in p if name.startswith(f"{layer}.")}
    e, r, n = config.block.d_inner, config.block.dt_rank, config.block.d_state
    both = own["in_proj"] * (own["norm"] * np.float32(math.sqrt(config.hidden)))
    return LayerWeights(
        x=both[:e],
        z=both[e:],
        z_bias=np.zeros(e, np.float32),
        conv=own["conv"],
        conv_bias=own["conv_bias"],
        dt_low=own["x_proj"][:r],
        b=own["x_proj"][r : r + n],
        c=own["x_proj"][r + n :],
        dt=own["dt_proj"],
        dt_bias=own["dt_bias"],
        skip=own["d"],
        a_log=own["a_log"],
        out=own["out_proj"],
        out_bias=np.zeros(config.hidden, np.float32),
    )


def forward(config: RssiMambaConfig, p: dict[str, Any], frames: Any, tap: Tap) -> tuple[Any, Any]:
    """Scores of the classes at each step, (N, T, classes), and the rows before the last layer.

    Args:
        config: dimensions.
        p: parameters by name.
        frames: scaled signal strengths, float32 (N, T, access points), T as `config` says.
        tap: what happens to the tensors on the way.
    """
    import tensorflow as tf

    value = tap.act("frame", frames)
    weight = tap.weight("w_embed", p["embed"])
    value = tap.act("embed", tf.matmul(value, weight, transpose_b=True) + p["embed_bias"])
    for layer in range(config.layers):
        unit = tap.act(f"{layer}.n1", unit_rows(value))
        weights = block_weights(config, p, layer)
        out = layer_forward(config.block, weights, f"{layer}.", unit, tap)
        value = tap.act(f"{layer}.sum", value + out)
    head = tap.weight("w_head", p["head"])
    return tap.act("logits", tf.matmul(value, head, transpose_b=True)), value


def step_model(
    config: RssiMambaConfig,
    parameters: dict[str, np.ndarray],
    grids: dict[str, Grid],
    *,
    bits: int = 8,
    names: bool = False,
) -> Model:
    """The step model: input int8 (1, access points), output int8 (1, classes), state inside.

    Args:
        config: dimensions.
        parameters: trained, by name.
        grids: of the activations, int8, by name.
        bits: of the activations and the state: 8, 16 (int16x8), or 32 for float32.
        names: tensors keep their names.

    Returns:
        The model with an offline plan where one makes the arena smaller, read back from its file.
        Reset the interpreter before a new recording.
    """
    build, options = Builder(), StreamingOptions(bits=bits, in_place=False, names=names)
    inner = {name: _in_width(grid, bits) for name, grid in grids.items()}
    outer = {
        name: _in_width(grid, min(bits, 8) if bits != 32 else 32) for name, grid in grids.items()
    }
    frame = build.tensor("frame", (1, config.access_points), outer["frame"])
    embed = parameters["embed"], parameters["embed_bias"]
    value = linear_operator(build, "embed", frame, *embed, outer["embed"])
    for layer in range(config.layers):
        shape = (1, config.hidden)
        unit = build.tensor("unit", shape, Grid(1.0, 0, 32) if bits == 32 else Grid(1 / 128))
        build.add("L2_NORMALIZATION", (value,), unit)
        weights = dataclasses.replace(block_weights(config, parameters, layer), z_bias=None)
        writer = LayerWriter(build, config.block, weights, inner, layer, options)
        out = writer.write(unit)
        total = build.tensor("sum", shape, outer[f"{layer}.sum"])
        value = build.add("ADD", (value, out), total)
    logits = linear_operator(build, "logits", value, parameters["head"], None, outer["logits"])
    return planned(finish_model(build, frame, logits, options, "refmicro localisation"))


def _in_width(grid: Grid, bits: int) -> Grid:
    """The range of an int8 grid in 8 or 16 bits; nothing for 32."""
    if bits == 32:
        return Grid(1.0, 0, 32)
    if bits == 16:
        largest = max(128 + grid.zero_point, 127 - grid.zero_point)
        return Grid(float(np.float32(largest * grid.scale / 32767)), 0, 16)
    return grid
