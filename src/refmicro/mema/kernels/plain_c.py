"""Kernels in C99, for processors with and without vectors, and for the host.

One static function computes a register tile; the kernel walks the tiles, channels outermost. Tiles
at the edges have functions of their own, so that none reads or writes more than it needs. What a
tile loads goes into local variables first: each load of the text happens once.

The filter is packed in the order in which it is read. With stationary outputs or weights that is
tile of channels, run, word along the depth, channel of the tile; with stationary inputs, channel,
run, word. Element i of word t of a run belongs to k = min(w t', run - w) + i, where t' is the input
word of w values that it meets: what an overlapping last input word brings twice meets a 0 the
second time. For outer products a word holds neighbouring channels of one k, padded to whole words.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from refmicro.mema.cost import Order
from refmicro.mema.kernel import (
    Kernel,
    PackedArrays,
    Requantization,
    has_bias,
    pack_channels,
    prototype,
)
from refmicro.mema.kernels.helium import VectorParts
from refmicro.mema.kernels.plain_gather import ConvolutionWriter
from refmicro.mema.kernels.plain_parts import Parts
from refmicro.mema.kernels.plain_tiles import write_kernel
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.schedule import Schedule, best
from refmicro.mema.target import Target, find_target


def generate(
    problem: Matmul | Convolution,
    target: Target,
    requantization: Requantization,
    name: str,
) -> Kernel:
    """See `refmicro.mema.kernel.generate`.

    For a processor whose own kernels are assembly, the compiled kernel is that of a Cortex-M3: a
    compiler does not use floating-point registers as a second level.
    """
    if target.family == "smlad":
        target = dataclasses.replace(find_target("cortex-m3"), name=target.name)
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    found = layout(
        problem,
        target,
        bias=has_bias(matmul, requantization),
        wide_sums=requantization.wide_sums,
        scaled=requantization.constant is None,
    )
    return from_schedule(problem, target, requantization, name, best(target, found))


def from_schedule(
    problem: Matmul | Convolution,
    target: Target,
    requantization: Requantization,
    name: str,
    schedule: Schedule,
) -> Kernel:
    """The kernel that runs a schedule, whoever chose it."""
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    kind = VectorParts if target.vector_bytes else Parts
    parts = kind(matmul, schedule, requantization, name, target)
    rows = ConvolutionWriter(parts, problem) if isinstance(problem, Convolution) else None
    return Kernel(
        name,
        prototype(name, matmul.input_bits),
        "\n".join(write_kernel(parts, rows)) + "\n",
        partial(pack, matmul, schedule, requantization),
        schedule.accesses,
        schedule,
    )


def pack(
    problem: Matmul,
    schedule: Schedule,
    requantization: Requantization,
    filter_values: np.ndarray,
    bias: np.ndarray | None,
    multipliers: object,
    shifts: object,
) -> PackedArrays:
    """The kernel's arrays; see `kernel.Kernel.pack`."""
    used = schedule.layout
    weights = np.asarray(filter_values).reshape(used.channels, used.runs, used.run)
    width = 1 if schedule.order is Order.INPUT else schedule.tile.m
    starts = range(0, used.channels, width)
    if schedule.order is Order.OUTER:
        tiles = [_outer_words(weights[i : i + width], used) for i in starts]
    else:
        words = arrange_words(weights, used)
        tiles = [words[i : i + width].transpose(1, 2, 0, 3).reshape(-1) for i in starts]
    packed = {"filter": np.concatenate(tiles).astype(np.int8)}
    channels = (filter_values, bias, multipliers, shifts)
    return packed | pack_channels(problem, requantization, *channels)


def _outer_words(weights: np.ndarray, used: Layout) -> np.ndarray:
    """Values (channels, runs, run) of one tile with its channels side by side."""
    values = weights.reshape(weights.shape[0], -1).T
    return np.pad(values, ((0, 0), (0, -values.shape[1] % used.filter_values))).reshape(-1)


def arrange_words(weights: np.ndarray, used: Layout) -> np.ndarray:
    """Filter values (channels, runs, run) as words (channels, runs, words, values of a word)."""
    if used.vector:  # the last vector of a run is cut, it overlaps nothing
        return np.pad(weights, ((0, 0), (0, 0), (0, -used.run % used.filter_values))).reshape(
            *weights.shape[:2], -1, used.filter_values
        )
    index = element_index(used.run, used.input_values, used.filter_values)
    padded = np.concatenate([weights, np.zeros((*weights.shape[:2], 1), weights.dtype)], axis=2)
    return padded[:, :, index]


def element_index(run: int, input_values: int, filter_values: int) -> np.ndarray:
    """k of each element of each filter word of a run; `run` itself, a zero, where it has none."""
    words = -(-run // filter_values)
    index = np.full(words * filter_values, run)
    for word in range(-(-run // input_values)):
        start = min(word * input_values, run - input_values)
        for i in range(input_values):
            if start + i >= word * input_values:
                index[word * input_values + i] = start + i
    return index.reshape(words, filter_values)
