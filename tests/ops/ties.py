"""Scales and accumulators for which two derivations of a multiplier give different outputs.

A multiplier that is wrong in its last bits changes one output in 10^5: random tests miss it. Here
accumulators are chosen near ties, where every output tells the derivations apart.
"""

from __future__ import annotations

import numpy as np

from refmicro.fixedpoint import f32, multiply_array, quantize_multiplier


def distant_scales(output_scale: float, seed: int = 0) -> tuple[float, float, float]:
    """(a, b, output) scales whose float32 product is as far from the double one as it gets."""
    rng = np.random.default_rng(seed)
    output_scale = f32(output_scale)
    pairs = [tuple(f32(v) for v in rng.uniform(0.001, 0.1, 2)) for _ in range(4000)]

    def distance(pair: tuple[float, float]) -> float:
        exact = pair[0] * pair[1]
        return abs(f32(exact) - exact) / exact

    a, b = max(pairs, key=distance)
    return a, b, output_scale


def telling_accumulators(
    a: float, b: float, output: float, bound: int, limit: int, count: int
) -> np.ndarray:
    """Accumulators up to `bound` whose outputs, within `limit`, differ between both products."""
    values = np.arange(-bound, bound, max(1, bound >> 22), dtype=np.int64)
    outputs = []
    for product in (a * b, f32(a * b)):
        out = np.empty(values.size, np.int64)
        multiply_array(values, *quantize_multiplier(product / output), out)
        outputs.append(out)
    telling = (outputs[0] != outputs[1]) & (np.abs(outputs[0]) <= limit)
    found = values[telling][:count]
    assert found.size >= min(count, 3), "no telling accumulators for these scales"
    return found
