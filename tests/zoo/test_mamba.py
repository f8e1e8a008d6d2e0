"""The float model: published size, merged layers, and the recurrence as its formula says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro.zoo.mamba import (
    DISCRETISATIONS,
    Float,
    MambaConfig,
    forward,
    initial_parameters,
    parameter_count,
)
from refmicro.zoo.quantise import Rounding

from .kws_models import TINY, clips, grids, parameters

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'refmicro[train]'")


def test_the_published_configuration_has_35914_parameters() -> None:
    assert parameter_count(MambaConfig()) == 35_914


def test_published_parts() -> None:
    sizes = {name: array.size for name, array in initial_parameters(MambaConfig(), 0).items()}
    assert sizes == {
        "lin_in": 2560,
        "lin_in_bias": 64,
        "0.in_proj": 16384,
        "0.conv": 512,
        "0.conv_bias": 128,
        "0.x_proj": 4608,
        "0.dt_proj": 512,
        "0.dt_bias": 128,
        "0.a_log": 2048,
        "0.d": 128,
        "0.out_proj": 8192,
        "head": 640,
        "head_bias": 10,
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def written_out(config: MambaConfig, p: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """The model layer by layer, nothing merged, in doubles, one clip: mean logits."""
    p = {name: value.astype(np.float64) for name, value in p.items()}
    value = frames @ p["lin_in"].T + p["lin_in_bias"]
    before = np.tile(p["lin_in_bias"], (config.d_conv - 1, 1))
    for layer in range(config.layers):
        own = {n.split(".", 1)[1]: v for n, v in p.items() if n.startswith(f"{layer}.")}
        e, r, n = config.d_inner, config.dt_rank, config.d_state
        if config.layers > 1:
            before = np.zeros((config.d_conv - 1, config.d_model))
        padded = np.concatenate([before, value]) @ own["in_proj"][:e].T
        gate = value @ own["in_proj"][e:].T
        h = np.zeros((e, n))
        out = []
        for t in range(len(value)):
            x = (padded[t : t + config.d_conv].T * own["conv"]).sum(1) + own["conv_bias"]
            x = x * sigmoid(x)
            low = own["x_proj"] @ x
            z = own["dt_proj"] @ low[:r] + own["dt_bias"]
            a = np.exp(own["a_log"])
            kind = config.discretisation
            if kind == "exact":
                step = np.log1p(np.exp(z))
                decay = np.exp(-step[:, None] * a)
            elif kind == "elu":
                step = np.where(z > 0, z + 1, np.exp(z))
                decay = np.exp(-step[:, None] * a)
            elif kind == "power":
                step = sigmoid(z)
                decay = sigmoid(-z)[:, None] ** np.arange(1, n + 1)
            else:
                step = sigmoid(z)
                decay = 1 / (1 + np.exp(z)[:, None] * a)
            h = decay * h + (step * x)[:, None] * low[r : r + n]
            y = h @ low[r + n :] + own["d"] * x
            out.append(own["out_proj"] @ (y * gate[t] * sigmoid(gate[t])))
        value = np.array(out) if config.layers == 1 else value + np.array(out)
    return value.mean(0) @ p["head"].T + p["head_bias"]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", DISCRETISATIONS)
def test_forward(kind: str, layers: int) -> None:
    config = dataclasses.replace(TINY, discretisation=kind, layers=layers)
    p, frames = parameters(config), clips(config, 3)
    tensors = {name: tf.constant(value) for name, value in p.items()}
    found = forward(config, tensors, tf.constant(frames), Float()).numpy().mean(1)
    for clip, logits in zip(frames, found, strict=True):
        assert np.max(np.abs(written_out(config, p, clip) - logits)) < 1e-4


@pytest.mark.parametrize("kind", DISCRETISATIONS)
@pytest.mark.parametrize("rounding", [False, True], ids=["float", "rounding"])
def test_gradients_of_the_loop(kind: str, rounding: bool) -> None:
    """The loop computes each step again for its gradient; the tape through all steps judges it."""
    config = dataclasses.replace(TINY, discretisation=kind)
    variables = {name: tf.Variable(value) for name, value in parameters(config).items()}
    chosen = grids(config, scale=0.06)
    scales = {name: tf.Variable(np.float32(np.log(g.scale))) for name, g in chosen.items()}
    frames = tf.constant(clips(config, 5))
    trained = [*variables.values(), *scales.values()]
    found = []
    for records in (True, False):
        with tf.GradientTape() as tape:
            tap = Rounding(chosen, scales) if rounding else Float()
            tap.records = records
            loss = tf.reduce_sum(forward(config, variables, frames, tap) ** 2)
        gradients = tape.gradient(loss, trained, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        found.append((float(loss), [gradient.numpy() for gradient in gradients]))
    (slow, wanted), (fast, got) = found
    assert abs(slow - fast) <= 1e-5 * abs(slow)
    for a, b in zip(wanted, got, strict=True):
        assert np.max(np.abs(a - b)) <= 1e-5 * (np.max(np.abs(a)) + 1e-6)
