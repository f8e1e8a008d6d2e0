"""A linear-chain CRF over the steps of a window: its loss, and Viterbi's best path.

The score of a path is the sum of its classes' scores, of `transitions[from, to]`, of `start` and of
`end`. The loss trains with TensorFlow; decoding is outside the integer graph, in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = ("crf", "crf_start", "crf_end")


def initial_parameters(classes: int, seed: int) -> dict[str, np.ndarray]:
    """Small random scores by name, float32."""
    rng = np.random.default_rng([seed, 13])
    shapes = ((classes, classes), (classes,), (classes,))
    return {
        name: rng.uniform(-0.1, 0.1, shape).astype(np.float32)
        for name, shape in zip(NAMES, shapes, strict=True)
    }


def loss(scores: Any, chosen: Any, p: dict[str, Any]) -> Any:
    """Mean negative log-likelihood, for each step, of paths drawn from `chosen`.

    Args:
        scores: float32 (N, T, classes).
        chosen: float32 (N, T, classes), the share of each class at each step, steps independent;
            rows of 0 and 1 for known labels.
        p: parameters by name.
    """
    import tensorflow as tf

    steps = scores.shape[1]
    own = tf.reduce_sum(scores * chosen, [1, 2])
    own += tf.linalg.matvec(chosen[:, 0], p["crf_start"])
    own += tf.linalg.matvec(chosen[:, -1], p["crf_end"])
    if steps > 1:
        pairs = tf.einsum("nti,ij->ntj", chosen[:, :-1], p["crf"])
        own += tf.reduce_sum(pairs * chosen[:, 1:], [1, 2])
    alpha = p["crf_start"] + scores[:, 0]
    for step in range(1, steps):
        both = alpha[:, :, None] + p["crf"]
        alpha = tf.reduce_logsumexp(both, 1) + scores[:, step]
    whole = tf.reduce_logsumexp(alpha + p["crf_end"], 1)
    return tf.reduce_mean(whole - own) / steps


def viterbi(scores: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """The best paths: int (N, T) from float (N, T, classes)."""
    count, steps, _ = scores.shape
    best = p["crf_start"] + scores[:, 0]
    came = np.zeros(scores.shape, np.int64)
    for step in range(1, steps):
        both = best[:, :, None] + p["crf"]
        came[:, step] = both.argmax(1)
        best = both.max(1) + scores[:, step]
    path = np.zeros((count, steps), np.int64)
    path[:, -1] = (best + p["crf_end"]).argmax(1)
    rows = np.arange(count)
    for step in range(steps - 1, 0, -1):
        path[:, step - 1] = came[rows, step, path[:, step]]
    return path
