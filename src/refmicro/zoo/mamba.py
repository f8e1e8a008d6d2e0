"""The keyword spotter as a TensorFlow graph: Mamba-1 between two linear layers.

    frames -> Linear(+bias) -> Mamba x layers -> mean over time -> Linear(+bias)

One layer has no norm and no residual, as published (MambaLite-Micro, `examples/` of its
repository); deeper models add a residual around each layer, without which they do not train.

One function, `forward`, serves float training, calibration and quantization-aware training: each
tensor that the integer model will hold passes through a `Tap`, which leaves it, records it, or
rounds it to the grid that TFLM will use. The order of the operations is that of the integer model.

Formulations of the discretisation, z being what softplus is applied to, a = exp(A_log):

    exact    dt = softplus(z)   decay = exp(-dt a)          TFLM has neither in int8
    sigmoid  dt = sigmoid(z)    decay = sigmoid(-(z + A_log))
    elu      dt = ELU(z) + 1    decay = ELU(-dt a) + 1
    power    dt = sigmoid(z)    decay = sigmoid(-z)^n, a = n not trained

`sigmoid` is no approximation of `exact` but another scheme: with a step of e^z its decay is
1 / (1 + a e^z), the implicit Euler rule where `exact` has the exponential one, and dt is the exact
zero-order hold of a unit decay, 1 - exp(-softplus(z)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

DISCRETISATIONS = ("exact", "sigmoid", "elu", "power")


@dataclass(frozen=True)
class MambaConfig:
    """Dimensions; the defaults are the published ones, 35,914 parameters."""

    features: int = 40
    frames: int = 81
    classes: int = 10
    d_model: int = 64
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int = 4
    layers: int = 1
    discretisation: str = "sigmoid"
    dt_min: float = 0.01
    dt_max: float = 0.3

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return self.expand * self.d_model


class Tap(Protocol):
    """What happens to the tensors that the integer model holds."""

    records: bool

    def act(self, name: str, value: Any) -> Any:
        """An activation with a scale of its own."""

    def unit(self, name: str, value: Any) -> Any:
        """A sigmoid's output: TFLM fixes its int8 grid to n/256 in [0, 1)."""

    def weight(self, name: str, value: Any) -> Any:
        """A constant."""

    def scales(self, names: list[str]) -> list[Any]:
        """What the tap computes with for activations `names`: tensors that may be trained."""

    def bound(self, names: list[str], scales: Sequence[Any]) -> Tap:
        """The same tap with these tensors in place of its own."""


class Float:
    """The tap of the float model: changes nothing."""

    records = False

    def act(self, name: str, value: Any) -> Any:
        return value

    unit = act
    weight = act

    def scales(self, names: list[str]) -> list[Any]:
        return []

    def bound(self, names: list[str], scales: Sequence[Any]) -> Float:
        return self


def initial_parameters(config: MambaConfig, seed: int) -> dict[str, np.ndarray]:
    """Weights as Mamba initialises them: float32 arrays by name, layers as `0.in_proj`, ..."""
    rng = np.random.default_rng([seed, 10])
    d, e, n, r = config.d_model, config.d_inner, config.d_state, config.dt_rank

    def uniform(*shape: int, fan: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(fan))

    found = {
        "lin_in": uniform(d, config.features, fan=config.features),
        "lin_in_bias": np.zeros(d, np.float32),
    }
    for layer in range(config.layers):
        step = np.exp(rng.uniform(math.log(config.dt_min), math.log(config.dt_max), e))
        # The inverse of softplus, or of the sigmoid, at the wanted steps.
        bias = np.log(np.expm1(step)) if config.discretisation == "exact" else np.log(step)
        if config.discretisation in ("sigmoid", "power"):
            bias = np.log(step / (1 - step))
        found |= {
            f"{layer}.in_proj": uniform(2 * e, d, fan=d),
            f"{layer}.conv": uniform(e, config.d_conv, fan=config.d_conv),
            f"{layer}.conv_bias": np.zeros(e, np.float32),
            f"{layer}.x_proj": uniform(r + 2 * n, e, fan=e),
            f"{layer}.dt_proj": uniform(e, r, fan=r),
            f"{layer}.dt_bias": bias.astype(np.float32),
            f"{layer}.a_log": np.tile(np.log(np.arange(1, n + 1, dtype=np.float32)), (e, 1)),
            f"{layer}.d": np.ones(e, np.float32),
            f"{layer}.out_proj": uniform(d, e, fan=e),
        }
    found |= {"head": uniform(config.classes, d, fan=d)}
    return found | {"head_bias": np.zeros(config.classes, np.float32)}


def parameter_count(config: MambaConfig) -> int:
    """Trained numbers of the model, as published counts give them."""
    return sum(array.size for array in initial_parameters(config, 0).values())


@dataclass(frozen=True)
class LayerWeights:
    """One layer's matrices as the integer model holds them, rows are outputs.

    Linear layers that follow one another without anything between them are one matrix: the first
    layer's input projection holds the model's, the last layer's output projection the head's.

    Attributes:
        x, z: input projections, (d_inner, inputs); z_bias: (d_inner,).
        conv: (d_inner, d_conv); conv_bias: (d_inner,), all constant parts of that path together.
        dt_low, b, c: projections of the scan's input, (dt_rank or d_state, d_inner).
        dt: (d_inner, dt_rank); dt_bias, skip: (d_inner,); a_log: (d_inner, d_state).
        out: (outputs, d_inner); out_bias: (outputs,).
    """

    x: Any
    z: Any
    z_bias: Any
    conv: Any
    conv_bias: Any
    dt_low: Any
    b: Any
    c: Any
    dt: Any
    dt_bias: Any
    skip: Any
    a_log: Any
    out: Any
    out_bias: Any


def layer_weights(config: MambaConfig, p: dict[str, Any], layer: int) -> LayerWeights:
    """Layer `layer` of the parameters `p`, NumPy arrays or TensorFlow variables alike.

    The frames before the first are zero at the input of the merged projection.
    """
    own = {key.split(".", 1)[1]: value for key, value in p.items() if key[0] == str(layer)}
    e, r, n = config.d_inner, config.dt_rank, config.d_state
    x, z = own["in_proj"][:e], own["in_proj"][e:]
    x_bias, z_bias = 0.0, np.zeros(e, np.float32)
    out, out_bias = own["out_proj"], np.zeros(config.d_model, np.float32)
    if config.layers == 1:
        bias = p["lin_in_bias"][:, None]
        x_bias, z_bias = (x @ bias)[:, 0], (z @ bias)[:, 0]
        x, z = x @ p["lin_in"], z @ p["lin_in"]
        out, out_bias = p["head"] @ out, p["head_bias"]
    taps = own["conv"][:, 0]
    for k in range(1, config.d_conv):
        taps = taps + own["conv"][:, k]
    rows = own["x_proj"]
    return LayerWeights(
        x=x,
        z=z,
        z_bias=z_bias,
        conv=own["conv"],
        conv_bias=own["conv_bias"] + taps * x_bias,
        dt_low=rows[:r],
        b=rows[r : r + n],
        c=rows[r + n :],
        dt=own["dt_proj"],
        dt_bias=own["dt_bias"],
        skip=own["d"],
        a_log=own["a_log"],
        out=out,
        out_bias=out_bias,
    )


def forward(config: MambaConfig, p: dict[str, Any], frames: Any, tap: Tap) -> Any:
    """Logits of each frame: (N, T, classes); the model's answer is their mean over time.

    Args:
        config: dimensions.
        p: parameters by name.
        frames: normalised features, float32 (N, T, features).
        tap: what happens to the tensors on the way.
    """
    import tensorflow as tf

    value = tap.act("frame", frames)
    if config.layers > 1:
        weight = tap.weight("lin_in", p["lin_in"])
        value = tap.act("stem", tf.matmul(value, weight, transpose_b=True) + p["lin_in_bias"])
    for layer in range(config.layers):
        weights = layer_weights(config, p, layer)
        out = layer_forward(config, weights, f"{layer}.", value, tap)
        if config.layers == 1:
            return out
        value = tap.act(f"{layer}.sum", value + out)
    weight = tap.weight("head", p["head"])
    return tap.act("logits", tf.matmul(value, weight, transpose_b=True) + p["head_bias"])


def layer_forward(config: MambaConfig, w: LayerWeights, at: str, value: Any, tap: Tap) -> Any:
    """One layer over `value`, (N, T, inputs); `at` begins the names of its activations."""
    import tensorflow as tf

    def linear(name: str, source: Any, weight: Any, bias: Any = 0.0) -> Any:
        product = tf.matmul(source, tap.weight(f"{at}w_{name}", weight), transpose_b=True)
        return tap.act(at + name, product + bias)

    tail = linear("tail", value, w.x)
    taps = tap.weight(f"{at}w_conv", w.conv)
    padded = tf.pad(tail, [[0, 0], [config.d_conv - 1, 0], [0, 0]])
    steps = tail.shape[1]
    conv = tf.add_n([padded[:, k : k + steps] * taps[:, k] for k in range(config.d_conv)])
    conv = tap.act(f"{at}conv", conv + w.conv_bias)
    x = tap.act(f"{at}x", conv * tap.unit(f"{at}conv_gate", tf.sigmoid(conv)))
    z = linear("step", linear("step_low", x, w.dt_low), w.dt, w.dt_bias)
    y = _scan(config, w, at, (x, z, linear("b", x, w.b), linear("c", x, w.c)), tap)
    skip = tap.act(f"{at}skip", x * tap.weight(f"{at}w_skip", w.skip))
    y = tap.act(f"{at}y", y + skip)
    gate = linear("gate", value, w.z, w.z_bias)
    gate = tap.act(f"{at}gate_silu", gate * tap.unit(f"{at}gate_unit", tf.sigmoid(gate)))
    name = "logits" if config.layers == 1 else f"{at}out"
    product = tf.matmul(
        tap.act(f"{at}gated", y * gate), tap.weight(f"{at}w_out", w.out), transpose_b=True
    )
    return tap.act(name, product + w.out_bias)


def _scan(
    config: MambaConfig, w: LayerWeights, at: str, parts: tuple[Any, Any, Any, Any], tap: Tap
) -> Any:
    """h = decay * h + (dt x) B, y = h C, along time; (N, T, d_inner)."""
    import tensorflow as tf

    x, z, b, c = parts
    kind = config.discretisation
    if kind == "exact":
        step = tf.math.softplus(z)
    elif kind == "elu":
        step = tf.nn.elu(z) + 1.0
    else:
        step = tap.unit(f"{at}dt", tf.sigmoid(z))
    u = tap.act(f"{at}u", step * x)
    powers = tf.range(1, config.d_state + 1, dtype=tf.float32)
    rates = powers if kind == "power" else tap.weight(f"{at}w_a_log", w.a_log)

    def decay(tap: Tap, z_t: Any, step_t: Any, rates: Any) -> Any:
        if kind == "sigmoid":
            argument = tap.act(f"{at}decay_log", -(z_t[..., None] + rates))
            return tap.unit(f"{at}decay", tf.sigmoid(argument))
        if kind == "power":
            return tf.exp(tf.math.log_sigmoid(-z_t)[..., None] * rates)
        return tf.exp(-step_t[..., None] * tf.exp(rates))

    def advance(tap: Tap, rates: Any, h: Any, now: list[Any]) -> tuple[Any, Any]:
        z_t, step_t, u_t, b_t, c_t = now
        h = tap.act(f"{at}h", decay(tap, z_t, step_t, rates) * h)
        h = tap.act(f"{at}h", h + tap.act(f"{at}input", u_t[..., None] * b_t[:, None, :]))
        return h, tf.reduce_sum(h * c_t[:, None, :], -1)

    series = [tf.transpose(part, [1, 0, 2]) for part in (z, step, u, b, c)]
    start = tf.zeros([tf.shape(x)[0], config.d_inner, config.d_state])
    if tap.records:
        found, h = [], start
        for t in range(x.shape[1]):
            h, y_t = advance(tap, rates, h, [part[t] for part in series])
            found.append(y_t)
        y = tf.stack(found)
    else:
        names = [f"{at}{name}" for name in ("decay_log", "h", "input")]
        y = _along_time(advance, tap, names, start, rates, series)
    return tap.act(f"{at}scan", tf.transpose(y, [1, 0, 2]))


def _along_time(
    advance: Callable[[Tap, Any, Any, list[Any]], tuple[Any, Any]],
    tap: Tap,
    names: list[str],
    start: Any,
    rates: Any,
    series: list[Any],
) -> Any:
    """The loop over time, (T, N, d_inner); `series` holds tensors of T steps.

    Time runs in a loop, all else in parallel: on two cores a loop whose step stays in the cache
    takes two thirds of the time of the same arithmetic over all steps at once. Only the state
    before each step is kept for the gradient, which computes the step again: what a step makes is a
    dozen times as large as the state, and moving it to memory and back took most of the time.
    """
    import tensorflow as tf

    steps = series[0].shape[0]

    @tf.custom_gradient
    def run(rates: Any, *given: Any) -> Any:
        scales, series = given[: len(given) - 5], given[len(given) - 5 :]
        local = tap.bound(names, scales)

        def forward(t: Any, h: Any, states: Any, found: Any) -> tuple[Any, ...]:
            later, y = advance(local, rates, h, [part[t] for part in series])
            return t + 1, later, states.write(t, h), found.write(t, y)

        arrays = [tf.TensorArray(tf.float32, steps) for _ in range(2)]
        _, _, states, found = tf.while_loop(
            lambda t, *_: t < steps, forward, (tf.constant(0), start, *arrays)
        )
        states = states.stack()

        def gradient(above: Any) -> list[Any]:
            def backward(t: Any, g_h: Any, g_fixed: Any, g_series: Any) -> tuple[Any, ...]:
                h, now = states[t], [part[t] for part in series]
                with tf.GradientTape() as tape:
                    tape.watch([h, rates, *scales, *now])
                    made = advance(tap.bound(names, scales), rates, h, now)
                found = tape.gradient(
                    *(made, [h, rates, *scales, *now], [g_h, above[t]]),
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                fixed = found[1 : 2 + len(scales)]
                g_fixed = [total + more for total, more in zip(g_fixed, fixed, strict=True)]
                moving = found[2 + len(scales) :]
                g_series = [part.write(t, g) for part, g in zip(g_series, moving, strict=True)]
                return t - 1, found[0], g_fixed, g_series

            zeros = [tf.zeros_like(value) for value in (rates, *scales)]
            arrays = [tf.TensorArray(tf.float32, steps) for _ in series]
            _, _, g_fixed, g_series = tf.while_loop(
                lambda t, *_: t >= 0,
                backward,
                (tf.constant(steps - 1), tf.zeros_like(start), zeros, arrays),
            )
            return [*g_fixed, *(part.stack() for part in g_series)]

        return found.stack(), gradient

    return run(rates, *tap.scales(names), *series)
