"""The transformer of indoor localisation: Multihead Dual Convolutional Self Attention.

    frames -> Linear -> + position -> head for each kernel size -> self attention -> Conv1D -> norm
           -> Linear

    head:  q = tanh(conv_q(x)), k = tanh(conv_k(x)), x1 = norm(softmax(q k' / sqrt(H)) x + x)
           out = norm(x1 + a sigmoid(b)), (a, b) = Linear(Linear(ELU(Linear(x1)))), widths 4H 4H 2H

As published (`code/models/{mdcsacrf,submodules}.py` of the repository
`ferdianjovan/Multihead-Dual-Convolutional-Self-Attention`, Jovan et al. 2023), for signal strengths
alone. Its one-layer form, whose parameter counts Suwannaphong et al. (2025) give, has the head of
kernel size 1. Those counts hold the branch for a second kind of sensor, which is built whether
there is one or not: `unreached_count` of them are never read, are not trained and not exported.

Two decisions of our own. The convolution that joins three heads takes three rows of one moment at a
stride of three; with one head it takes three moments at a stride of one. Position is added after
the square root of H is multiplied in, and gradients pass.

`forward` serves float training, calibration and training with rounding, in the order of the integer
model's operators. A layer norm there is three: a product with I - 1/H takes the mean away,
L2_NORMALIZATION makes unit rows, a product with a diagonal scales and shifts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.zoo.mamba import Tap

KERNELS = {1: (1,), 3: (1, 4, 7)}
"""Kernel sizes of the heads, by how many there are."""

JOIN = 3
"""Rows that the last convolution joins."""

FIXED_ACTIVATIONS = ("q", "k", "n1", "n2", "n3")
"""Tensors whose scale TFLM's kernels fix: 1/128."""


@dataclass(frozen=True)
class MdcsaConfig:
    """Dimensions: `layers` is the number of heads, 1 or 3."""

    access_points: int = 8
    classes: int = 4
    hidden: int = 16
    layers: int = 1
    steps: int = 20

    @property
    def kernels(self) -> tuple[int, ...]:
        """Kernel sizes of the heads."""
        return KERNELS[self.layers]

    @property
    def row_name(self) -> str:
        """The activation that heads end with: one grid for all, as CONCATENATION wants it."""
        return "0.x2" if self.layers == 1 else "rows"


def crf_count(classes: int) -> int:
    """Parameters of the CRF: transitions, and scores of the first and the last class."""
    return classes * classes + 2 * classes


def _shapes(config: MdcsaConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the trained arrays, rows are outputs, convolutions are (out, taps, in)."""
    h = config.hidden
    found: dict[str, tuple[int, ...]] = {
        "embed": (h, config.access_points),
        "embed_bias": (h,),
    }
    for number, taps in enumerate(config.kernels):
        head = {
            "q": (h, taps, h),
            "q_bias": (h,),
            "k": (h, taps, h),
            "k_bias": (h,),
            "norm1": (h,),
            "norm1_bias": (h,),
            "fc1": (4 * h, h),
            "fc1_bias": (4 * h,),
            "fc2": (4 * h, 4 * h),
            "fc2_bias": (4 * h,),
            "glu": (2 * h, 4 * h),
            "glu_bias": (2 * h,),
            "norm2": (h,),
            "norm2_bias": (h,),
        }
        found |= {f"{number}.{name}": shape for name, shape in head.items()}
    return found | {
        "conv": (h, JOIN, h),
        "conv_bias": (h,),
        "norm3": (h,),
        "norm3_bias": (h,),
        "head": (config.classes, h),
        "head_bias": (config.classes,),
    }


def unreached_count(config: MdcsaConfig) -> int:
    """Parameters of the branch for a second sensor: norm, two convolutions, context."""
    h = config.hidden
    return sum(2 * h + 2 * (taps * h * h + h) + 4 * h * h for taps in config.kernels)


def reached_count(config: MdcsaConfig) -> int:
    """Parameters that an answer depends on, without the CRF."""
    return sum(math.prod(shape) for shape in _shapes(config).values())


def parameter_count(config: MdcsaConfig) -> int:
    """Parameters as the paper counts them: all that is built, with the CRF."""
    return reached_count(config) + unreached_count(config) + crf_count(config.classes)


def initial_parameters(config: MdcsaConfig, seed: int) -> dict[str, np.ndarray]:
    """Arrays by name, float32: uniform weights, biases 0, norms 1."""
    rng = np.random.default_rng([seed, 11])
    found = {}
    for name, shape in _shapes(config).items():
        if len(shape) == 1:
            ones = name.endswith(("norm1", "norm2", "norm3"))
            found[name] = np.full(shape, float(ones), np.float32)
        else:
            limit = 1 / math.sqrt(math.prod(shape[1:]))
            found[name] = rng.uniform(-limit, limit, shape).astype(np.float32)
    return found


def positions(config: MdcsaConfig) -> np.ndarray:
    """Sines and cosines to add, float32 (steps, hidden); the exponents are the published ones."""
    rows = np.arange(config.steps, dtype=np.float64)[:, None]
    column = np.arange(config.hidden)
    angle = rows / 10000.0 ** (2 * column / config.hidden)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def centring(width: int) -> np.ndarray:
    """The matrix that takes the mean of a row away: I - 1/width, exact in int8 at 1/128."""
    return (np.eye(width) - 1 / width).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """One head as the integer model holds it.

    Attributes:
        q, k: (hidden, taps, hidden) with biases.
        affine1, affine2: diagonal matrices after the unit rows, with shifts.
        fc1: (4 hidden, hidden); a, b: (hidden, 4 hidden), two published layers in one.
    """

    q: Any
    q_bias: Any
    k: Any
    k_bias: Any
    affine1: Any
    affine1_bias: Any
    fc1: Any
    fc1_bias: Any
    a: Any
    a_bias: Any
    b: Any
    b_bias: Any
    affine2: Any
    affine2_bias: Any


def merged_head(config: MdcsaConfig, p: dict[str, Any], number: int) -> Head:
    """Head `number` of the parameters `p`, NumPy arrays or TensorFlow variables alike."""
    own = {name.split(".", 1)[1]: p[name] for name in p if name.startswith(f"{number}.")}
    h = config.hidden
    both = own["glu"] @ own["fc2"]
    shift = (own["glu"] @ own["fc2_bias"][:, None])[:, 0] + own["glu_bias"]
    eye = np.eye(h, dtype=np.float32) * np.float32(math.sqrt(h))
    return Head(
        **{name: own[name] for name in ("q", "q_bias", "k", "k_bias", "fc1", "fc1_bias")},
        affine1=own["norm1"] * eye,
        affine1_bias=own["norm1_bias"],
        a=both[:h],
        a_bias=shift[:h],
        b=both[h:],
        b_bias=shift[h:],
        affine2=own["norm2"] * eye,
        affine2_bias=own["norm2_bias"],
    )


@dataclass(frozen=True)
class Ends:
    """What is before and after the heads: the last norm is part of `conv` and `head`."""

    embed: Any
    embed_bias: Any
    conv: Any
    conv_bias: Any
    head: Any
    head_bias: Any


def merged_ends(config: MdcsaConfig, p: dict[str, Any]) -> Ends:
    """The same for the parts that all heads share."""
    h = config.hidden
    root = np.float32(math.sqrt(h))
    centre = centring(h)
    return Ends(
        embed=p["embed"] * root,
        embed_bias=p["embed_bias"] * root,
        conv=_reshaped(centre @ _reshaped(p["conv"], (h, JOIN * h)), (h, JOIN, h)),
        conv_bias=(centre @ p["conv_bias"][:, None])[:, 0],
        head=p["head"] * (p["norm3"] * root),
        head_bias=p["head_bias"] + (p["head"] @ p["norm3_bias"][:, None])[:, 0],
    )


def _reshaped(array: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(array, np.ndarray):
        return array.reshape(shape)
    import tensorflow as tf

    return tf.reshape(array, shape)


def forward(config: MdcsaConfig, p: dict[str, Any], frames: Any, tap: Tap) -> tuple[Any, Any]:
    """Scores of the classes at each step, (N, T, classes), and the rows before the last layer.

    Args:
        config: dimensions.
        p: parameters by name.
        frames: scaled signal strengths, float32 (N, T, access points).
        tap: what happens to the tensors on the way.
    """
    import tensorflow as tf

    ends = merged_ends(config, p)
    value = tap.act("frame", frames)
    value = tap.act("embed", _linear(tap, "w_embed", value, ends.embed, ends.embed_bias))
    value = tap.act("place", value + tap.weight("w_position", tf.constant(positions(config))))
    heads = [_head(config, merged_head(config, p, n), n, value, tap) for n in range(config.layers)]
    rows = heads[0]
    if config.layers > 1:
        rows = tf.concat(heads, -1)
        rows = tf.reshape(rows, [-1, config.steps * config.layers, config.hidden])
    mix = _attend(config, "", rows, rows, rows, tap)
    taps = tap.weight("w_conv", ends.conv)
    if config.layers == 1:
        mix = tf.pad(mix, [[0, 0], [1, 1], [0, 0]])
        parts = [mix[:, i : i + config.steps] for i in range(JOIN)]
    else:
        parts = [mix[:, i::JOIN] for i in range(JOIN)]
    joined = tf.add_n(
        [tf.matmul(part, taps[:, i], transpose_b=True) for i, part in enumerate(parts)]
    )
    last = tap.act("n3", unit_rows(tap.act("c3", joined + ends.conv_bias)))
    return tap.act("logits", _linear(tap, "w_head", last, ends.head, ends.head_bias)), last


def unit_rows(value: Any) -> Any:
    """Each row divided by its length."""
    import tensorflow as tf

    return value * tf.math.rsqrt(tf.reduce_sum(value * value, -1, keepdims=True) + 1e-5)


def _linear(tap: Tap, name: str, source: Any, weight: Any, bias: Any) -> Any:
    import tensorflow as tf

    return tf.matmul(source, tap.weight(name, weight), transpose_b=True) + bias


def _attend(config: MdcsaConfig, at: str, q: Any, k: Any, v: Any, tap: Tap) -> Any:
    import tensorflow as tf

    scores = tap.act(f"{at}scores", tf.matmul(q, k, transpose_b=True))
    share = tap.unit(f"{at}share", tf.nn.softmax(scores / math.sqrt(config.hidden)))
    return tap.act(f"{at}mix", tf.matmul(share, v))


def _head(config: MdcsaConfig, w: Head, number: int, value: Any, tap: Tap) -> Any:
    """One head over (N, T, hidden)."""
    import tensorflow as tf

    at, steps = f"{number}.", config.steps
    centre = tf.constant(centring(config.hidden))

    def convolved(name: str, weight: Any, bias: Any) -> Any:
        taps = tap.weight(f"{at}w_{name}", weight)
        count = config.kernels[number]
        padded = tf.pad(value, [[0, 0], [count - 1, 0], [0, 0]])
        parts = [
            tf.matmul(padded[:, i : i + steps], taps[:, i], transpose_b=True) for i in range(count)
        ]
        return tap.act(at + name, tf.tanh(tap.act(f"{at}{name}_in", tf.add_n(parts) + bias)))

    def linear(name: str, source: Any, weight: Any, bias: Any) -> Any:
        return tap.act(at + name, _linear(tap, f"{at}w_{name}", source, weight, bias))

    q, k = convolved("q", w.q, w.q_bias), convolved("k", w.k, w.k_bias)
    mix = tap.act(f"{at}r1", _attend(config, at, q, k, value, tap) + value)
    unit = tap.act(f"{at}n1", unit_rows(tap.act(f"{at}c1", tf.matmul(mix, centre))))
    first = linear("x1", unit, w.affine1, w.affine1_bias)
    wide = tap.act(f"{at}elu", tf.nn.elu(linear("wide", first, w.fc1, w.fc1_bias)))
    gate = tap.unit(f"{at}gate", tf.sigmoid(linear("b_in", wide, w.b, w.b_bias)))
    gated = tap.act(f"{at}gated", linear("a_in", wide, w.a, w.a_bias) * gate)
    total = tap.act(f"{at}r2", gated + first)
    unit = tap.act(f"{at}n2", unit_rows(tap.act(f"{at}c2", tf.matmul(total, centre))))
    last = _linear(tap, f"{at}w_x2", unit, w.affine2, w.affine2_bias)
    return tap.act(config.row_name, last)
