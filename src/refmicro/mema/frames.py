"""Several frames a pass: what a streaming model gains by waiting, and what it pays.

A model that runs once a frame multiplies one row by each weight matrix. However that is tiled,
every weight is loaded for every product of it: F loads a channel and frame. Weights can only be
reused over rows, so a step that takes n frames at once loads each weight once for as many rows as
the tile holds, and pays with n - 1 frames of delay and n times the bytes of activations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from refmicro.mema.levels import levels
from refmicro.mema.problem import Matmul
from refmicro.mema.schedule import derive
from refmicro.mema.target import Target

MOST_FRAMES = 4
"""More would be no stream any more."""


@dataclass(frozen=True)
class Pass:
    """One pass over `frames` frames through all products.

    Attributes:
        frames: rows of each product.
        delay_frames: how long the first of them waits.
        accesses, flash_loads: of the whole pass.
        activation_bytes: input and output of the product that holds most of them.
    """

    frames: int
    delay_frames: int
    accesses: int
    flash_loads: int
    activation_bytes: int


def passes(problems: Iterable[Matmul], target: Target) -> Iterator[Pass]:
    """The trade for 1 to `MOST_FRAMES` frames a pass; `problems` have the rows of one frame."""
    problems = tuple(problems)
    for frames in range(1, MOST_FRAMES + 1):
        accesses = flash = largest = 0
        for problem in problems:
            wider = dataclasses.replace(problem, rows=problem.rows * frames)
            schedule = derive(wider, target)
            counted = levels(schedule.layout, schedule.tile, schedule.accesses)
            accesses += schedule.accesses.count * wider.batches
            flash += counted.flash_loads * wider.batches
            values = wider.rows * (wider.accum_depth + wider.output_depth)
            largest = max(largest, values * wider.input_bytes)
        yield Pass(frames, frames - 1, accesses, flash, largest)
